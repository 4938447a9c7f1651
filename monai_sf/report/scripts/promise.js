// The first view: which risk is promised, and what was seen at that threshold on every kind of test set of all studies.

import { valueText } from "./cards.js";
import { groupsOf, isPromised, PROMISED, riskOf, shareDecided, tally } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { listed, number, ofHundred, percent, rangeText } from "./numbers.js";
import { axisEnd, headline, inHundred, NEW_CLASS, verdictOf, VERDICTS } from "./verdicts.js";

/**
 * @import { Risk, Sum } from "./counts.js"
 * @import { Child } from "./elements.js"
 * @import { Promised, Run, RunScore } from "./payload.js"
 * @import { Page, State } from "./state.js"
 * @import { Verdict } from "./verdicts.js"
 *
 * @typedef {object} Row A kind of test set of a study, counted at the working point.
 * @property {number} index Of the run.
 * @property {Run} run
 * @property {RunScore} csf
 * @property {string} kind
 * @property {Sum} sum
 * @property {Risk} risk Among the trusted cases.
 */

/** Return the working point in words. @param {State} state */
export const pointText = ({ step }) => (step === PROMISED ? "the promised threshold" : `working point ${step} %`);

/** @param {Verdict} verdict */
const symbolOf = (verdict) => el("span", { class: "symbol", "aria-hidden": "true" }, VERDICTS[verdict].symbol);

/** Return a verdict as a symbol with its name. @param {Verdict} verdict */
export const verdictBadge = (verdict) => el("span", { class: `verdict verdict-${verdict}` }, symbolOf(verdict), `\u00a0${VERDICTS[verdict].name}`);

/**
 * Return the ordinary and corrupted cases, and the targets of all studies.
 *
 * @param {Page} page
 * @returns {Row[]}
 */
function rowsOf({ state, data }) {
  const home = data.runs.some((run) => run.study === "iid") ? "iid" : data.runs[0].study;
  return [...new Set(data.runs.map((run) => run.study))].flatMap((study) => {
    const index = state.findRun(study, state.csf, state.currentRun.seed);
    const run = data.runs[index];
    const csf = run.csfs.find((entry) => entry.name === state.csf);
    if (!csf) return [];
    return groupsOf(run).filter(([kind]) => study === home || data.groups[kind].has_target).map(([kind, sets]) => {
      const sum = tally(csf, run, sets, state.step);
      return { index, run, csf, kind, sum, risk: riskOf(sum, state.step, { seen: csf.seen[kind], effective: csf.effective[kind] }) };
    });
  });
}

/** Name the cases of a row, for use within a sentence. @param {Page} page @param {Row} row */
function nameOf({ data }, { kind, run }) {
  const { title, has_target: own } = data.groups[kind];
  return `${title[0].toLowerCase()}${title.slice(1)}${own ? ` (${run.studyTitle})` : ""}`;
}

/** Return how many calibration cases, of how many groups, a promise rests on. @param {Promised} promise */
const basis = ({ cases, groups }) => `${number(cases)} calibration cases${groups < cases ? ` of ${number(groups)} groups, such as patients` : ""}`;

/** Return what is promised, or why nothing is. @param {Page} page @returns {Child} */
function promiseText({ state, data }) {
  const { promise, unpromised } = state.currentRun;
  const { promise: own, name } = state.currentCsf;
  if (!promise) return [el("b", {}, "Nothing is promised"), `: ${unpromised}.`];
  if (!own) return [el("b", {}, "Nothing is promised"), ` for ${name}: no threshold was chosen for it.`];
  const risk = `at most ${inHundred(promise.targetRisk)} of 100 answers it is sure of are wrong`;
  if (own.threshold === null) {
    const enough = own.needed === null ? "no number of cases would do" : `it would take about ${number(own.needed)}${promise.groups < promise.cases ? " groups" : ""}`;
    return [el("b", {}, "Nothing is promised"), `: no threshold of ${name} can promise that ${risk} with ${basis(promise)}; ${enough}.`];
  }
  return [el("span", { class: "promised" }, "Promised on ordinary cases: ", el("b", {}, risk), "."),
    el("span", { class: "quiet" }, ` ${Number((100 * (1 - promise.delta)).toPrecision(4))} % certain, from ${basis(promise)}${promise.groups < promise.cases ? "; each patient counts once" : ""}. `
      + `Sure means: ${name} of ${valueText(data, name, own.threshold)} or more${new Set(data.runs.map((run) => run.study)).size > 1 ? " (other studies are other networks with their own thresholds)" : ""}. `
      + "On other images the promise may break.")];
}

/**
 * Return the message of the rows where nothing is promised: is the result worse anywhere than on the ordinary cases?
 *
 * @param {Page} page
 * @param {Row[]} rows
 * @returns {Child}
 */
function answerOf(page, rows) {
  /** @param {Row} row */
  const many = ({ sum }) => ofHundred(sum.silent, sum.trusted);
  /** @param {Row} row */
  const text = (row) => many(row).digits;
  /** @param {Row} row */
  const toldOf = (row) => [el("strong", {}, text(row)), ` ${many(row).verb} wrong`];
  // of classes that it does not know, every answer is wrong by definition: their row tells how many were sure
  const sure = rows.filter(({ kind, sum }) => sum.trusted && kind !== NEW_CLASS);
  const [ordinary] = sure.filter(({ kind }) => kind === "iid");
  const others = sure.filter((row) => row !== ordinary);
  if (!sure.length) return "At this working point the system decides nothing alone.";
  const [worst] = [...(others.length ? others : sure)].sort((a, b) => b.risk.rate - a.risk.rate);
  if (!ordinary || !others.length) {
    return ["Of 100 cases the system was sure of, ", toldOf(worst), others.length ? ` on ${nameOf(page, worst)}.` : "."];
  }
  if (worst.risk.rate <= ordinary.risk.rate || text(worst) === text(ordinary)) {
    return ["Of 100 cases the system was sure of, ", toldOf(ordinary), " on ordinary cases, and no more on the other images that were tested."];
  }
  const named = others.filter((row) => text(row) === text(worst));
  const known = [...named, ordinary].every(({ risk }) => !Number.isNaN(risk.range[0]));
  const apart = named.some(({ risk }) => risk.range[0] > ordinary.risk.range[1]);
  return ["Of 100 cases the system was sure of, ", toldOf(ordinary), " on ordinary cases, but ", toldOf(worst)[0], " on ", listed(named.map((row) => nameOf(page, row))), ".",
    apart ? null : el("span", { class: "quiet" }, known ? " The 95 % intervals overlap, so the difference may be chance."
      : " There is no interval for the cases of a single patient, so the difference may be chance.")];
}

/** Draw an interval on an axis from 0 to `end`. @param {Row} row @param {number} end */
function rangeBar({ kind, sum, risk: { rate, range: [low, high] } }, end) {
  /** @param {number} v */
  const at = (v) => `${(100 * Math.min(v / end, 1)).toFixed(2)}%`;
  const [from, to] = kind === NEW_CLASS || Number.isNaN(low) ? [rate, rate] : [low, high];
  return el("div", { class: "range-bar", "aria-hidden": "true" },
    sum.trusted ? [el("span", { class: "band", style: `left:${at(from)};right:calc(100% - ${at(to)})` }), el("span", { class: rate > end ? "dot beyond" : "dot", style: `left:${at(rate)}` })] : null);
}

/** @param {Row} row */
function countText({ kind, sum, risk: { rate, range } }) {
  const { silent, trusted, count } = sum;
  if (!trusted) return [el("b", {}, "–"), el("span", { class: "quiet" }, ` sure of none of ${number(count)}`)];
  if (kind === NEW_CLASS) return [el("b", {}, percent(1, 0)), el("span", { class: "quiet" }, ` sure of ${number(trusted)} of ${number(count)}, all wrong`)];
  return [el("b", { title: rangeText(range) }, percent(rate)),
    el("span", { class: "quiet" }, ` ${Number.isNaN(range[0]) ? "no interval" : `(${percent(range[0])} to ${percent(range[1])})`}, ${number(silent)} of ${number(trusted)}${Math.abs(rate - silent / trusted) > 1e-9 ? " images" : ""}`)];
}

/** @param {[Verdict, string][]} parts */
const answerOfPromise = (parts) => parts.map(([verdict, text]) => el("span", { class: `verdict-${verdict}` }, symbolOf(verdict), `\u2060\u00a0${text} `));

/** @param {Page} page */
function drawSeen(page) {
  const { state, data } = page;
  const rows = rowsOf(page);
  const target = state.currentRun.promise?.targetRisk ?? null;
  const promised = state.step === PROMISED && target !== null;
  const judged = !promised ? [] : rows.map((row) => (
    { row, name: nameOf(page, row), verdict: isPromised(row.csf) ? verdictOf(row.run.promise?.targetRisk ?? 0, row.sum, row.risk, row.kind) : /** @type {Verdict} */ ("unpromised") }));
  fill("answer", judged.length ? answerOfPromise(headline(judged)) : answerOf(page, rows));
  const end = axisEnd(target ?? 0, rows.filter(({ kind }) => kind !== NEW_CLASS).map(({ risk: { rate, range } }) => (Number.isNaN(range[1]) ? rate : range[1])));
  const line = `left:${((100 * (target ?? 0)) / end).toFixed(2)}%`;
  const several = new Set(data.runs.map((run) => run.study)).size > 1;
  fill("seen", el("table", { class: "seen" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Tested on"), promised ? el("th", { scope: "col" }, "Promise") : null,
      el("th", { scope: "col", class: "scale" }, el("span", { class: "visually-hidden" }, "Interval"),
        target === null ? null : el("span", { class: "target-text", style: line }, `${inHundred(target)} %`)),
      el("th", { scope: "col" }, "Wrong of those it is sure of"), el("th", { scope: "col" }, "Decided alone"))),
    el("tbody", {}, rows.map((row) => {
      const { index, run, kind, sum } = row;
      const { title, has_target: own } = data.groups[kind];
      const verdict = judged.find((found) => found.row === row)?.verdict;
      const name = [title, own ? el("span", { class: "quiet" }, ` ${run.studyTitle}`) : null];
      return el("tr", { "data-kind": kind, class: verdict ? `is-${verdict}` : null },
        el("th", { scope: "row" }, several ? el("button", { type: "button", class: "study-row", "aria-pressed": String(run.study === state.currentRun.study),
          title: `Show ${run.studyTitle} below`, onclick: () => state.goTo(index) }, name) : name),
        verdict ? el("td", {}, verdictBadge(verdict)) : null,
        el("td", { class: "scale" }, rangeBar(row, end), target === null ? null : el("span", { class: "target", style: line, "aria-hidden": "true" })),
        el("td", { class: "rate" }, countText(row)),
        el("td", { class: "alone" }, percent(sum.trusted / sum.count, 0)));
    }))));
}

/** @param {Page} page */
export function setUpPromise(page) {
  const { state } = page;
  const back = byId("to-promise");
  back.addEventListener("click", () => state.set({ step: PROMISED }));
  state.watch(["run", "csf", "step"], () => {
    fill("promise", promiseText(page), state.hasPromise && state.step !== PROMISED
      ? el("span", { class: "moved" }, ` You moved the line: at ${percent(shareDecided(state.currentRun, state.currentCsf, state.step), 0)} of the ordinary cases nothing is promised.`) : null);
    back.hidden = !state.hasPromise;
    back.setAttribute("aria-pressed", String(state.step === PROMISED));
    drawSeen(page);
  });
  byId("every-set").addEventListener("click", () => { byId("counts-box", HTMLDetailsElement).open = true; });
}
