// Risk-coverage curves of all scores of the run on one test set; the dots are the working point.

import { judgedOn, PROMISED, tally } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { csfStyle, dashIcon } from "./look.js";
import { number, percent } from "./numbers.js";
import { modelOf, restyle } from "./plots.js";

/**
 * @import { RunScore } from "./payload.js"
 * @import { Model } from "./plots.js"
 * @import { Page } from "./state.js"
 */

/** @param {Page} page @param {Model} plot */
export function setUpCurves(page, plot) {
  const { state } = page;
  const lines = modelOf(plot.document, "curves");
  const dots = modelOf(plot.document, "points");
  const chooser = byId("curve-set", HTMLSelectElement);
  chooser.addEventListener("change", () => state.set({ curveSet: Number(chooser.value) }));

  const drawLines = () => {
    const run = state.currentRun;
    const names = run.csfs.map((csf) => csf.name);
    // the chosen score last, so that it lies on top
    const order = [...state.offered].sort((a, b) => Number(a.name === state.csf) - Number(b.name === state.csf));
    /** @param {RunScore} csf */
    const style = (csf) => csfStyle(names, csf.name);
    lines.data = {
      xs: order.map((csf) => Array.from(csf.sets[state.curveSet].coverage)),
      ys: order.map((csf) => Array.from(csf.sets[state.curveSet].risk)),
      color: order.map((csf) => style(csf).colour),
      dash: order.map((csf) => style(csf).dash),
      width: order.map((csf) => (csf.name === state.csf ? 4 : 1.75)),
      alpha: order.map((csf) => (csf.name === state.csf ? 1 : 0.75)),
      name: order.map((csf) => csf.name),
    };
    fill("curve-legend", state.offered.map((csf) => el("button", {
      type: "button", class: "chip", "aria-pressed": String(csf.name === state.csf),
      onclick: () => state.set({ csf: csf.name }),
    }, dashIcon(style(csf)), csf.name, el("span", { class: "quiet" }, ` ${percent(csf.sets[state.curveSet].aurc ?? NaN, 2)}`))));
  };

  // at a coverage of a few cases, one error is a risk of up to 100 %; an axis up to there would flatten all curves
  const fitAxis = () => {
    let highest = Math.max(0, ...dots.data.y.filter(Number.isFinite));
    const { xs, ys } = /** @type {{ xs: number[][], ys: number[][] }} */ (lines.data);
    ys.forEach((risks, i) => risks.forEach((risk, k) => {
      if (xs[i][k] >= 0.05) highest = Math.max(highest, risk);
    }));
    plot.y_range.end = Math.min(1.02, Math.max(0.02, 1.1 * highest));
  };

  const drawDots = () => {
    const run = state.currentRun;
    const names = run.csfs.map((csf) => csf.name);
    const offered = state.offered.map((csf) => csf.name);
    const judged = judgedOn(run, state.curveSet);
    const { count } = tally(state.currentCsf, run, judged, state.step);
    const at = state.offered.map((csf) => {
      const { meanError } = csf.sets[state.curveSet];
      const { trusted: kept, silent: wrong } = tally(csf, run, judged, state.step);
      return { kept, wrong, risk: meanError ? meanError[state.step - 1] : kept ? wrong / kept : NaN, mean: Boolean(meanError) };
    });
    dots.data = {
      x: at.map(({ kept }) => kept / count),
      y: at.map(({ risk }) => risk),
      color: offered.map((name) => csfStyle(names, name).colour),
      size: offered.map((name) => (name === state.csf ? 16 : 8)),
      name: offered,
      text: at.map(({ kept, wrong, risk, mean }) => `sure of ${number(kept)} of ${number(count)}, ${number(wrong)} wrong`
        + (mean ? `, mean error ${percent(risk)}` : "")),
    };
    const i = offered.indexOf(state.currentCsf.name);
    const { kept, wrong, risk, mean } = at[i];
    fill("curve-text", el("b", {}, state.currentCsf.name), ` on ${judged.map((k) => `“${run.sets[k].title}”`).join(" together with ")}: sure of ${number(kept)} of ${number(count)} `
      + `cases (${percent(kept / count, 0)}), ${number(wrong)} of them wrong (${percent(wrong / kept)}).`
      + (mean ? ` Their mean error is ${percent(risk)}.` : ""));
  };

  state.watch(["run"], () => {
    chooser.replaceChildren(...state.currentRun.sets.map((set, i) => el("option", { value: i }, set.title)));
  });
  state.watch(["run", "curveSet"], () => { chooser.value = String(state.curveSet); });
  state.watch(["run", "csf", "curveSet", "more", "theme"], () => { restyle(plot); drawLines(); });
  state.watch(["run", "csf", "curveSet", "step", "more", "theme"], () => { drawDots(); fitAxis(); });

  // a click on the plot moves the working point to that coverage
  plot.on_event("tap", (event) => {
    const judged = judgedOn(state.currentRun, state.curveSet);
    const { count } = tally(state.currentCsf, state.currentRun, judged, 1);
    const trusted = Array.from({ length: PROMISED - 1 }, (_, k) => tally(state.currentCsf, state.currentRun, judged, k + 1).trusted);
    let best = 0;
    trusted.forEach((n, k) => { if (Math.abs(n - event.x * count) < Math.abs(trusted[best] - event.x * count)) best = k; });
    state.set({ step: best + 1 });
  });
}
