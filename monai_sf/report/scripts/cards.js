// Cards of cases: picture, label, prediction and confidence.

import { isTrusted, outcome } from "./counts.js";
import { el } from "./elements.js";
import { OUTCOMES, shapeIcon } from "./look.js";
import { percent, precisePercent } from "./numbers.js";

/**
 * @import { Child } from "./elements.js"
 * @import { Payload, Run, RunScore } from "./payload.js"
 * @import { Pictures } from "./pictures.js"
 * @import { Page } from "./state.js"
 */

/**
 * Return the confidence of a case as text, in the unit of its score's scale.
 *
 * @param {Payload} data
 * @param {{ name: string, confidence: Float32Array }} csf
 * @param {number} i
 */
export const confidenceText = (data, csf, i) => valueText(data, csf.name, csf.confidence[i]);

/**
 * Return a confidence or a threshold as text, in the unit of its score's scale.
 *
 * @param {Payload} data
 * @param {string} csf
 * @param {number} value
 */
export function valueText(data, csf, value) {
  const { scale } = data.csfs[csf];
  if (scale === "log_probability") return precisePercent(value);
  if (scale === "probability") return percent(value);
  if (scale === "nats") return `${(-value).toPrecision(3)} nats of uncertainty`;
  return value.toPrecision(4);
}

/**
 * Return the threshold of a score at a working point as text.
 *
 * @param {Payload} data
 * @param {{ name: string, thresholds: Float64Array }} csf
 * @param {number} step
 */
export function thresholdText(data, { name, thresholds }, step) {
  const value = thresholds[step - 1];
  return Number.isFinite(value) ? valueText(data, name, value) : "none";
}

/**
 * Return as text the confidence of a case, the threshold at the working point, and what was decided.
 *
 * @param {Payload} data
 * @param {{ name: string, confidence: Float32Array, thresholds: Float64Array, step: Uint8Array, promised: Uint8Array }} csf
 * @param {number} step
 * @param {number} i
 */
export function decisionOf(data, csf, step, i) {
  const confidence = confidenceText(data, csf, i);
  const text = thresholdText(data, csf, step);
  const alone = isTrusted(csf, step, i);
  // rounded, both may read the same
  return { confidence, threshold: !alone && text === confidence ? `just above ${text}` : text, decided: alone ? "decided alone" : "handed to a person" };
}

/** Return the decision as one text. @param {ReturnType<typeof decisionOf>} decision */
export const decisionText = ({ confidence, threshold, decided }) => `confidence ${confidence}, threshold ${threshold}: ${decided}`;

/** Return an error in [0, 1] as text. @param {number} error */
export const errorText = (error) => `error ${error.toFixed(2)}`;

/** Return the true class of sampled case i, or its error. @param {Run} run @param {number} i */
export const truthText = (run, i) => (run.points.error ? errorText(run.points.error[i]) : run.truths[run.points.label[i]]);

/** Return the true and the predicted class of sampled case i, or its error. @param {Run} run @param {RunScore} csf @param {number} i */
export const answerText = (run, csf, i) => (
  run.points.error ? truthText(run, i) : `${truthText(run, i)}, called ${run.classes[csf.prediction[i]]}`);

/** @param {RunScore} csf @param {number} i */
function rankText(csf, i) {
  const step = csf.step[i];
  return step > 100 ? "less sure than of any ordinary case" : `among the surest ${step}\u00a0% of ordinary cases`;
}

/**
 * Return a thumbnail. Without a label it is hidden from screen readers: the element around it has the label.
 *
 * @param {Pictures} pictures
 * @param {number} thumb
 * @param {string} [label]
 */
export function picture(pictures, thumb, label) {
  if (thumb < 0) return el("div", { class: "picture none" }, "no image");
  const canvas = el("canvas", { class: "picture", "data-thumb": thumb,
    ...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }) });
  pictures.draw(canvas, thumb);
  return canvas;
}

/** Return a case id that may wrap after each underscore. @param {string} id */
function breakable(id) {
  return id.split("_").flatMap((part, i) => (i ? ["_", el("wbr"), part] : [part]));
}

/**
 * Return a list of names and values. A value too long to stand beside its name gets its own line.
 *
 * @param {[string, string][]} entries
 */
function pairs(entries) {
  return el("dl", { class: "pairs" }, entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** @param {number} kind */
export function outcomeBadge(kind) {
  const { name, shape } = OUTCOMES[kind];
  return el("span", { class: `badge outcome-${kind}` }, shapeIcon(shape, "currentColor"), name);
}

/** @param {Page} page @param {number} i */
export function mapButton(page, i) {
  const run = page.state.currentRun;
  if (!run.points.xyz) return [];
  return [el("button", { type: "button", "aria-label": `Show ${run.cases.id[run.points.case[i]]} on the map`,
    onclick: () => page.showOnMap(i) }, "show on map")];
}

/**
 * Return the card of sampled case i. Options: `buttons`; `details`, whether to list the case table's columns; `mark`, a
 * number as heading; `scores`, those whose confidence is shown (the chosen one by default); `step`, the working point.
 *
 * @param {Page} page
 * @param {number} i
 * @param {{ buttons?: Child[], details?: boolean, mark?: number, scores?: RunScore[], step?: number }} [options]
 */
export function caseCard(page, i, { buttons = [], details = true, mark, scores, step = page.state.step } = {}) {
  const { state, data, pictures } = page;
  const run = state.currentRun;
  const csf = scores ? scores[0] : state.currentCsf;
  const { points } = run;
  const set = run.sets[points.set[i]];
  const row = points.case[i];
  const kind = outcome(run, csf, step, i);
  const decisions = (scores || [csf]).map((s) => ({ s, decision: decisionOf(data, s, step, i) }));
  /** @type {[string, string][]} */
  const facts = [
    .../** @type {[string, string][]} */ (points.error ? [["error", points.error[i].toFixed(2)]]
      : [["is", run.truths[points.label[i]]], ["called", run.classes[csf.prediction[i]]]]),
    ...decisions.flatMap(({ s, decision }) => /** @type {[string, string][]} */ (
      [[scores ? s.name : "confidence", decision.confidence], [scores ? "its threshold" : "threshold", decision.threshold]]))];
  /** @type {[string, string][]} */
  const columns = run.cases.columns.map((c) => [c.name, c.values[c.codes[row]]]);
  return el("figure", { class: "case", "data-point": i },
    mark === undefined ? null : el("span", { class: "mark" }, String(mark)),
    picture(pictures, points.thumb[i], `${set.title}: ${answerText(run, csf, i)}, ${decisions.map(({ s, decision }) => (scores ? `${s.name}: ` : "") + decisionText(decision)).join("; ")}`),
    el("figcaption", {},
      outcomeBadge(kind),
      pairs(facts),
      el("p", { class: "quiet" }, `${decisions[0].decision.decided}, ${rankText(csf, i)}`),
      el("p", { class: "quiet" }, `${set.title} · `, el("span", { class: "id" }, breakable(run.cases.id[row]))),
      details && columns.length
        ? el("details", {}, el("summary", {}, "more about this case"), pairs(columns))
        : null,
      buttons.length ? el("div", { class: "buttons" }, buttons) : null));
}
