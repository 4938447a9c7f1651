// One image over all corruptions and severities: pictures, predictions, and how sure every score is.

import { confidenceText, picture } from "./cards.js";
import { ALARM, DETECTED, SILENT, TRUSTED } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { csfStyle, css, OUTCOMES, restyle, shapeIcon } from "./look.js";

export function setUpSweep(page, plot) {
  const { state, data, pictures } = page;
  const lines = plot.document.get_model_by_name("sweep-curves");
  const marks = plot.document.get_model_by_name("sweep-marks");
  const limit = plot.document.get_model_by_name("sweep-limit");
  const [caseChooser, kindChooser] = [byId("sweep-case"), byId("sweep-kind")];

  /** Indices into sweep.sets of one corruption, by severity, the clean set first. */
  const series = (run, kind) => {
    const { sets } = run.sweep;
    const of = sets.map((s, k) => [run.sets[s], k]);
    return [...of.filter(([set]) => set.kind === "iid"),
      ...of.filter(([set]) => set.corruption === kind).sort((a, b) => a[0].severity - b[0].severity)];
  };

  const cell = (run, image, [set, k]) => {
    const csf = run.sweep.csfs[state.currentCsf.name];
    const at = image * run.sweep.sets.length + k;
    const wrong = csf.prediction[at] !== run.sweep.label[image];
    const trusted = csf.step[at] <= state.step;
    const kind = wrong ? (trusted ? SILENT : DETECTED) : (trusted ? TRUSTED : ALARM);
    const said = run.classes[csf.prediction[at]];
    const sure = confidenceText(data, { name: state.currentCsf.name, confidence: csf.confidence }, at);
    return el("td", { class: `sweep-cell outcome-${kind}` },
      picture(pictures, run.sweep.thumb[at], `${set.title}: called ${said}, confidence ${sure}`),
      el("span", { class: "badge" }, shapeIcon(OUTCOMES[kind].shape, "currentColor"), said),
      el("span", { class: "quiet" }, sure));
  };

  /** Corruptions and what they are called. */
  const kinds = (run) => [...new Map(run.sweep.sets.map((s) => run.sets[s]).filter((set) => set.corruption).map((set) => [set.corruption, set.domain]))];

  const drawGrid = () => {
    const run = state.currentRun;
    byId("sweep").hidden = !run.sweep;
    if (!run.sweep) return;
    const image = Number(caseChooser.value);
    const rows = kinds(run).map(([kind, title]) => [title, series(run, kind)]);
    const severities = Math.max(...rows.map(([, cells]) => cells.length));
    fill("sweep-grid", el("table", {},
      el("caption", {}, `This image is ${run.classes[run.sweep.label[image]]}. Under each picture: what it was called and the confidence of ${state.currentCsf.name}.`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Disturbance"),
        Array.from({ length: severities }, (_, s) => el("th", { scope: "col" }, s ? `severity ${rows[0][1][s]?.[0].severity ?? s}` : "clean")))),
      el("tbody", {}, rows.map(([title, cells]) => el("tr", {}, el("th", { scope: "row" }, title), cells.map((c) => cell(run, image, c)))))));
  };

  const drawCurves = () => {
    const run = state.currentRun;
    if (!run.sweep) return;
    const image = Number(caseChooser.value);
    const cells = series(run, kindChooser.value);
    const names = run.csfs.map((csf) => csf.name);
    const order = state.offered.map((csf) => csf.name).sort((a, b) => (a === state.csf) - (b === state.csf));
    const at = (k) => image * run.sweep.sets.length + k;
    const x = cells.map(([set]) => set.severity);
    lines.data = {
      xs: order.map(() => x), ys: order.map((name) => cells.map(([, k]) => run.sweep.csfs[name].rank[at(k)])),
      color: order.map((name) => csfStyle(names, name).colour), dash: order.map((name) => csfStyle(names, name).dash),
      width: order.map((name) => (name === state.csf ? 4 : 1.75)), alpha: order.map((name) => (name === state.csf ? 1 : 0.75)),
      name: order,
    };
    const wrong = order.flatMap((name) => cells.filter(([, k]) => run.sweep.csfs[name].prediction[at(k)] !== run.sweep.label[image])
      .map(([set, k]) => ({ x: set.severity, y: run.sweep.csfs[name].rank[at(k)], name })));
    marks.data = { x: wrong.map((w) => w.x), y: wrong.map((w) => w.y), name: wrong.map((w) => w.name),
      size: wrong.map((w) => (w.name === state.csf ? 15 : 9)), color: wrong.map(() => css("--silent")) };
    limit.setv({ location: 1 - state.step / 100, line_color: css("--ink-2") });
    restyle(plot);
    fill("sweep-text", `Crosses: wrong answers. Above the dashed line the system decides alone (${state.step} % of ordinary cases).`);
  };

  state.watch(["run"], () => {
    const run = state.currentRun;
    if (!run.sweep) return;
    caseChooser.replaceChildren(...run.sweep.ids.map((id, i) => el("option", { value: i }, `${id} (${run.classes[run.sweep.label[i]]})`)));
    kindChooser.replaceChildren(...kinds(run).map(([kind, title]) => el("option", { value: kind }, title)));
  });
  caseChooser.addEventListener("change", () => { drawGrid(); drawCurves(); });
  kindChooser.addEventListener("change", drawCurves);
  state.watch(["run", "csf", "step"], drawGrid);
  state.watch(["run", "csf", "step", "more", "theme"], drawCurves);
}
