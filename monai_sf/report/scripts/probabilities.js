// Do the probabilities of the classifier mean what they say? A panel beside the question of this page.

import { byId, el, fill } from "./elements.js";
import { css, PALETTE, shapeIcon, theme } from "./look.js";
import { number, percent } from "./numbers.js";
import { modelOf, restyle } from "./plots.js";

/**
 * @import { Shape } from "./look.js"
 * @import { Probabilities, Reliability } from "./payload.js"
 * @import { Model } from "./plots.js"
 * @import { Page } from "./state.js"
 *
 * @typedef {{ title: string, numbers: Reliability, shape: Shape, colour: number, alpha: number }} Series
 */

const SMALLEST = 7, LARGEST = 22;

/** @param {Probabilities} found @returns {Series[]} */
const seriesOf = ({ before, after, temperature }) => [
  { title: "as the classifier gives them", numbers: before, shape: "circle", colour: 0, alpha: 1 },
  ...(after && temperature !== null ? [/** @type {Series} */ (
    { title: `divided by the temperature ${temperature.toPrecision(3)}`, numbers: after, shape: "diamond", colour: 1, alpha: 0.35 })] : []),
];

/**
 * Return the mean confidence and the accuracy over all bins.
 *
 * @param {Reliability["bins"]} bins
 * @returns {[number, number]}
 */
export function averages(bins) {
  const all = bins.reduce((sum, [, , n]) => sum + n, 0);
  /** @param {0 | 1} place */
  const mean = (place) => bins.reduce((sum, bin) => sum + bin[place] * bin[2], 0) / all;
  return [mean(0), mean(1)];
}

/** Return in words how sure the classifier is on average, and how often it is right. @param {Reliability} numbers */
export function inWords({ bins, cases }) {
  const [sure, right] = averages(bins);
  return `On average over ${number(cases)} ${cases === 1 ? "case" : "cases"} the classifier is ${percent(sure)} sure, and right in ${percent(right)}.`;
}

/** @param {Series[]} series */
function numbersTable(series) {
  /** @type {[string, (numbers: Reliability) => string][]} */
  const rows = [
    ["Expected calibration error", ({ ece }) => percent(ece)],
    ["Brier score (0 to 2)", ({ brier }) => brier.toFixed(3)],
    ["Negative log-likelihood", ({ nll }) => (nll === null ? "infinite" : nll.toFixed(3))],
  ];
  return el("table", { class: "plain" },
    el("caption", {}, "Lower is better"),
    el("thead", {}, el("tr", {}, el("td", {}), series.map(({ title, shape, colour }) => (
      el("th", { scope: "col" }, shapeIcon(shape, PALETTE[theme()][colour]), ` ${title}`))))),
    el("tbody", {}, rows.map(([name, text]) => el("tr", {}, el("th", { scope: "row" }, name),
      series.map(({ numbers }) => el("td", {}, text(numbers)))))));
}

/** @param {Page} page @param {Model} plot */
export function setUpProbabilities(page, plot) {
  const { state } = page;
  const lines = modelOf(plot.document, "reliability-lines");
  const dots = modelOf(plot.document, "reliability-bins");
  const chooser = byId("probabilities-set", HTMLSelectElement);

  const draw = () => {
    const run = state.currentRun;
    const found = run.sets[Number(chooser.value)].probabilities;
    if (!found) return;
    const series = seriesOf(found);
    restyle(plot);
    // no answer has a probability below 1 / C
    const least = 1 / run.classes.length;
    plot.x_range.start = least;
    const colours = series.map(({ colour }) => PALETTE[theme()][colour]);
    lines.data = {
      xs: [[least, 1], ...series.map(({ numbers }) => numbers.bins.map(([sure]) => sure))],
      ys: [[least, 1], ...series.map(({ numbers }) => numbers.bins.map(([, right]) => right))],
      color: [css("--ink-2"), ...colours],
      dash: [[6, 5], "solid", "solid"].slice(0, series.length + 1),
      width: [1.5, 2, 2].slice(0, series.length + 1),
      alpha: [1, 0.8, 0.8].slice(0, series.length + 1),
      name: ["calibrated", ...series.map(({ title }) => title)],
    };
    const bins = series.flatMap(({ numbers, shape, alpha }, i) => numbers.bins.map((bin) => ({ bin, shape, alpha, colour: colours[i] })));
    const most = Math.max(...bins.map(({ bin }) => bin[2]));
    dots.data = {
      x: bins.map(({ bin }) => bin[0]),
      y: bins.map(({ bin }) => bin[1]),
      color: bins.map(({ colour }) => colour),
      size: bins.map(({ bin }) => SMALLEST + (LARGEST - SMALLEST) * Math.sqrt(bin[2] / most)),
      marker: bins.map(({ shape }) => shape),
      alpha: bins.map(({ alpha }) => alpha),
      text: bins.map(({ bin: [sure, right, n] }) => `${number(n)} cases: ${percent(sure)} sure, ${percent(right)} right`),
    };
    fill("reliability-numbers", numbersTable(series));
    fill("probabilities-text", inWords(found.before),
      el("span", { class: "quiet" }, " Each mark is one of 15 ranges of probability, the larger the more cases; on the dashed line it is calibrated.",
        found.after ? "" : " No temperature is fitted to these outputs."));
  };

  state.watch(["run"], () => {
    const sets = state.currentRun.sets.map((set, i) => ({ set, i })).filter(({ set }) => set.probabilities);
    byId("probabilities").hidden = !sets.length;
    chooser.replaceChildren(...sets.map(({ set, i }) => el("option", { value: i }, set.title)));
  });
  chooser.addEventListener("change", draw);
  state.watch(["run", "theme"], () => { if (chooser.value) draw(); });
}
