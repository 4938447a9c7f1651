// One image under all corruptions and severities: pictures, predictions, and the confidence of every score.

import { decisionOf, decisionText, errorText, picture, thresholdText } from "./cards.js";
import { isTrusted, outcomeOf, shareDecided } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { csfStyle, css, OUTCOMES, shapeIcon } from "./look.js";
import { percent } from "./numbers.js";
import { modelOf, restyle } from "./plots.js";

/**
 * @import { Run, Sweep, TestSet } from "./payload.js"
 * @import { Model } from "./plots.js"
 * @import { Page } from "./state.js"
 *
 * @typedef {[set: TestSet, place: number]} Place A test set and its index in the sweep's list.
 */

/** @param {Page} page @param {Model} plot */
export function setUpSweep(page, plot) {
  const { state, data, pictures } = page;
  const lines = modelOf(plot.document, "sweep-curves");
  const marks = modelOf(plot.document, "sweep-marks");
  const limit = modelOf(plot.document, "sweep-limit");
  const [caseChooser, kindChooser] = [byId("sweep-case", HTMLSelectElement), byId("sweep-kind", HTMLSelectElement)];

  /**
   * Return the places of one corruption by severity, the clean set first.
   *
   * @param {Run} run
   * @param {Sweep} sweep
   * @param {string} kind
   */
  const series = (run, sweep, kind) => {
    /** @type {Place[]} */
    const of = sweep.sets.map((s, k) => [run.sets[s], k]);
    return [...of.filter(([set]) => set.kind === "iid"),
      ...of.filter(([set]) => set.corruption === kind).sort((a, b) => a[0].severity - b[0].severity)];
  };

  /** @param {Run} run @param {Sweep} sweep @param {number} image @param {Place} place */
  const cell = (run, sweep, image, [set, k]) => {
    const { name, thresholds } = state.currentCsf;
    const csf = { ...sweep.csfs[name], name, thresholds };
    const at = image * sweep.sets.length + k;
    const kind = outcomeOf(csf.prediction[at] !== sweep.label[image], isTrusted(csf, state.step, at));
    const said = sweep.error ? errorText(sweep.error[at]) : run.classes[csf.prediction[at]];
    const decision = decisionOf(data, csf, state.step, at);
    return el("td", { class: `sweep-cell outcome-${kind}` },
      picture(pictures, sweep.thumb[at], `${set.title}: ${sweep.error ? said : `called ${said}`}, ${decisionText(decision)}`),
      el("span", { class: "badge" }, shapeIcon(OUTCOMES[kind].shape, "currentColor"), said),
      el("span", { class: "quiet" }, decision.confidence));
  };

  /** Return the corruptions and their titles. @param {Run} run @param {Sweep} sweep */
  const kinds = (run, sweep) => [...new Map(sweep.sets.map((s) => run.sets[s])
    .flatMap(({ corruption, domain }) => (corruption === null ? [] : [[corruption, domain]])))];

  const drawGrid = () => {
    const run = state.currentRun;
    const { sweep } = run;
    byId("sweep").hidden = !sweep;
    if (!sweep) return;
    const image = Number(caseChooser.value);
    const rows = kinds(run, sweep).map(([kind, title]) => ({ title, places: series(run, sweep, kind) }));
    const severities = [...new Set(rows.flatMap(({ places }) => places.map(([set]) => set.severity)))].sort((a, b) => a - b);
    fill("sweep-grid", el("table", {},
      el("caption", {}, sweep.error ? "Under each picture: the error of the answer" : `This image is ${run.classes[sweep.label[image]]}. Under each picture: what it was called`,
        ` and the confidence of ${state.currentCsf.name}; threshold ${thresholdText(data, state.currentCsf, state.step)}.`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Disturbance"),
        severities.map((s) => el("th", { scope: "col" }, s ? `severity ${s}` : "clean")))),
      el("tbody", {}, rows.map(({ title, places }) => el("tr", {}, el("th", { scope: "row" }, title), severities.map((s) => {
        const place = places.find(([set]) => set.severity === s);
        return place ? cell(run, sweep, image, place) : el("td", {});
      }))))));
  };

  const drawCurves = () => {
    const run = state.currentRun;
    const { sweep } = run;
    if (!sweep) return;
    const image = Number(caseChooser.value);
    const cells = series(run, sweep, kindChooser.value);
    const names = run.csfs.map((csf) => csf.name);
    const order = state.offered.map((csf) => csf.name).sort((a, b) => Number(a === state.csf) - Number(b === state.csf));
    /** @param {number} k */
    const at = (k) => image * sweep.sets.length + k;
    const x = cells.map(([set]) => set.severity);
    lines.data = {
      xs: order.map(() => x), ys: order.map((name) => cells.map(([, k]) => sweep.csfs[name].rank[at(k)])),
      color: order.map((name) => csfStyle(names, name).colour), dash: order.map((name) => csfStyle(names, name).dash),
      width: order.map((name) => (name === state.csf ? 4 : 1.75)), alpha: order.map((name) => (name === state.csf ? 1 : 0.75)),
      name: order,
    };
    const wrong = order.flatMap((name) => cells.filter(([, k]) => sweep.csfs[name].prediction[at(k)] !== sweep.label[image])
      .map(([set, k]) => ({ x: set.severity, y: sweep.csfs[name].rank[at(k)], name })));
    marks.data = { x: wrong.map((w) => w.x), y: wrong.map((w) => w.y), name: wrong.map((w) => w.name),
      size: wrong.map((w) => (w.name === state.csf ? 15 : 9)), color: wrong.map(() => css("--silent")) };
    const share = shareDecided(run, state.currentCsf, state.step);
    limit.setv({ location: 1 - share, line_color: css("--ink-2") });
    restyle(plot);
    fill("sweep-text", `Crosses: wrong answers. Above the dashed line the system decides alone (${percent(share, 0)} of ordinary cases).`);
  };

  state.watch(["run"], () => {
    const run = state.currentRun;
    const { sweep } = run;
    if (!sweep) return;
    caseChooser.replaceChildren(...sweep.ids.map((id, i) => el("option", { value: i }, sweep.error ? id : `${id} (${run.classes[sweep.label[i]]})`)));
    kindChooser.replaceChildren(...kinds(run, sweep).map(([kind, title]) => el("option", { value: kind }, title)));
  });
  caseChooser.addEventListener("change", () => { drawGrid(); drawCurves(); });
  kindChooser.addEventListener("change", drawCurves);
  state.watch(["run", "csf", "step"], drawGrid);
  state.watch(["run", "csf", "step", "more", "theme"], drawCurves);
}
