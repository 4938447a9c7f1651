// The benchmark table, coloured by column as in the paper, and the counts behind all sentences of the page.

import { ALL_CASES, pooled, PROMISED, riskOf, tally } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { bounds, ends, hundredfold, interval, number, percent } from "./numbers.js";
import { pointText, verdictBadge } from "./promise.js";
import { verdictOf } from "./verdicts.js";

/**
 * @import { Sum } from "./counts.js"
 * @import { Payload, Run, RunScore, StudyColumn } from "./payload.js"
 * @import { Page, State } from "./state.js"
 */

/**
 * Return the kind of shift that a column of the benchmark table averages.
 *
 * @param {Payload} data
 * @param {string} column
 */
function shiftOf(data, column) {
  const shift = Object.values(data.groups).find((found) => found.column === column);
  if (!shift) throw new Error(`no kind of shift has the column ${column}`);
  return shift;
}

/**
 * The metrics of the tables: title, caption, whether higher is better, and the share computed from the counts.
 *
 * @type {Record<string, [title: string, caption: string, rising: boolean, share: ((sum: Sum) => number | null) | null]>}
 */
const METRICS = {
  aurc: ["AURC (all working points)", "AURC in per cent: error rate averaged over all working points, a silent failure rate. Lower is better.", false, null],
  silent: ["wrong of 100 sure (at this working point)", "Wrong among 100 cases the system is sure of, at this working point. Lower is better.", false,
    (sum) => (sum.trusted ? sum.silent / sum.trusted : null)],
  accuracy: ["accuracy", "Correct among 100 cases, if the system decided all of them. Higher is better.", true, (sum) => 1 - sum.errors / sum.count],
};

/** Set up one of two choosers of the metric; both tables show the same one. @param {State} state @param {string} id */
function chooseMetric(state, id) {
  const chooser = byId(id, HTMLSelectElement);
  chooser.append(...Object.entries(METRICS).map(([value, [name]]) => el("option", { value }, name)));
  chooser.addEventListener("change", () => state.set({ metric: chooser.value }));
  state.watch(["metric"], () => { chooser.value = state.metric; });
}

/**
 * Return the runs from which a score is read, each with the test sets (indices) that a column of the benchmark covers.
 *
 * @param {Payload} data
 * @param {string} name
 * @param {string} column
 * @returns {[Run, RunScore, number[]][]}
 */
function ofColumn(data, name, column) {
  const shift = shiftOf(data, column);
  const hasIid = data.runs.some((run) => run.study === "iid");
  return data.runs.flatMap((run) => {
    const csf = run.csfs.find((entry) => entry.name === name);
    if (!csf || run.method !== data.table.methods[name] || (hasIid && run.study !== "iid" && !shift.has_target)) return [];
    return [[run, csf, [...run.sets.keys()].filter((i) => run.sets[i].kind === shift.kind)]];
  });
}

/**
 * Return a cell with a background from light (best of its column) to strong (worst), on which the number stays readable.
 *
 * @param {(number | null)[][]} values
 * @param {number} column
 * @param {number} row
 * @param {(value: number) => string} text
 * @param {boolean} rising
 */
function shaded(values, column, row, text, rising) {
  const others = values.map((line) => line[column]).filter((v) => v !== null);
  const value = values[row][column];
  if (value === null) return el("td", { class: "missing" }, "–");
  const [low, high] = [Math.min(...others), Math.max(...others)];
  const t = high > low ? (value - low) / (high - low) : 0;
  const worse = rising ? 1 - t : t;
  return el("td", { style: `--t:${high > low ? worse.toFixed(3) : 0}` }, text(value),
    value === (rising ? high : low) && high > low ? el("span", { class: "best", title: "best of this column" }, " ★") : null);
}

/**
 * Return the lines of a table with a heading above each group of scores, if there are several groups.
 *
 * @param {Payload} data
 * @param {string[]} names Scores of the lines, in the order of their groups.
 * @param {number} columns Number of columns besides the first.
 * @param {HTMLElement[]} lines
 */
function grouped(data, names, columns, lines) {
  const groups = names.map((name) => data.csfs[name].group);
  if (new Set(groups).size < 2) return lines;
  return lines.flatMap((line, i) => (groups[i] === groups[i - 1] ? [line]
    : [el("tr", { class: "group" }, el("th", { scope: "colgroup", colspan: columns + 1 }, groups[i])), line]));
}

/**
 * Return the value of a score on a test set of a study with its interval (low, high), merged over the study's seeds; null
 * if it was not run.
 *
 * @param {Payload} data
 * @param {string} metric
 * @param {string} name
 * @param {StudyColumn} column
 * @param {number} k Index of the column.
 * @param {number} step
 * @returns {[number, number | null, number | null] | null}
 */
function studyCell(data, metric, name, column, k, step) {
  const share = METRICS[metric][3];
  if (!share) return data.studies.rows[name][k];
  /** @type {[Run, RunScore, number[]][]} */
  const parts = data.runs.filter((run) => run.study === column.study).flatMap((run) => {
    const csf = run.csfs.find((entry) => entry.name === name);
    const i = run.sets.findIndex((set) => set.name === column.set);
    return csf && i >= 0 && run.method === column.methods[name] ? [[run, csf, [i]]] : [];
  });
  if (!parts.length) return null;
  const value = share(pooled(parts, step));
  // all seeds are tested on the same patients, so several seeds do not make the sample larger
  const at = metric === "accuracy" ? ALL_CASES : step - 1;
  const size = parts.reduce((sum, [, csf, [i]]) => sum + csf.sets[i].effective[at], 0) / parts.length;
  return value === null ? null : [value, ...interval(value, size)];
}

/**
 * Draw the table with one column per study and test set, whatever the number of seeds and methods behind it.
 *
 * @param {Page} page
 */
export function setUpIntervals(page) {
  const { state, data } = page;
  const { columns } = data.studies;
  chooseMetric(state, "study-metric");
  const spans = [...new Map(columns.map((c) => [c.study, c.studyTitle]))].map(([study, title]) => ({ title, width: columns.filter((c) => c.study === study).length }));
  const draw = () => {
    const { metric } = state;
    const rows = data.table.rows.filter((name) => state.offers(name));
    const cells = rows.map((name) => columns.map((column, k) => studyCell(data, metric, name, column, k, state.step)));
    const seeds = Math.max(...columns.map((c) => c.seeds));
    /** @param {number} r @param {number} c */
    const text = (r, c) => {
      const found = cells[r][c];
      if (!found) return el("td", { class: "missing" }, "–");
      const [value, low, high] = found;
      const range = low === null || high === null || Number.isNaN(low) ? "no interval" : `${hundredfold(low)} – ${hundredfold(high)}`;
      return el("td", { class: "" }, el("b", {}, hundredfold(value)), el("span", { class: "range" }, range));
    };
    fill("studies-text", METRICS[metric][1], " Below each number its 95 % interval, ",
      metric === "aurc" ? "by bootstrap; cases of one group (patient) are drawn together." : "Wilson's; cases of one group (patient) are not counted as independent.",
      seeds > 1 ? ` Means over ${seeds} seeds${metric === "aurc" ? "; the interval covers other cases and other trainings" : ""}.` : "");
    fill("intervals", el("table", { class: "plain ranges" },
      el("thead", {},
        el("tr", {}, el("td", {}), spans.map(({ title, width }) => el("th", { scope: "colgroup", colspan: width }, el("span", { class: "quiet" }, "study"), title))),
        el("tr", {}, el("th", { scope: "col" }, "Confidence score"), columns.map((c) => el("th", { scope: "col" }, c.title,
          el("span", { class: "quiet" }, `${c.counts[0] === c.counts[1] ? number(c.counts[0]) : `${number(c.counts[0])} to ${number(c.counts[1])}`} cases`))))),
      el("tbody", {}, grouped(data, rows, columns.length,
        rows.map((name, r) => el("tr", { class: name === state.csf ? "current" : null }, el("th", { scope: "row" }, name), columns.map((_, c) => text(r, c))))))));
  };
  state.watch(["csf", "more", "step", "metric"], draw);
}

/** @param {Page} page */
export function setUpBenchmark(page) {
  const { state, data } = page;
  chooseMetric(state, "table-metric");
  const draw = () => {
    const { metric } = state;
    const [, caption, rising, share] = METRICS[metric];
    const { columns } = data.table;
    const rows = data.table.rows.filter((name) => state.offers(name));
    const values = rows.map((name) => (share
      ? columns.map((column) => { const parts = ofColumn(data, name, column); return parts.some(([, , sets]) => sets.length) ? share(pooled(parts, state.step)) : null; })
      : data.table.values[data.table.rows.indexOf(name)]));
    const head = el("tr", {}, el("th", { scope: "col" }, "Confidence score"),
      columns.map((c) => el("th", { scope: "col" }, el("abbr", { title: shiftOf(data, c).average }, c),
        el("span", { class: "quiet" }, shiftOf(data, c).average))));
    const body = rows.map((name, r) => el("tr", { class: name === state.csf ? "current" : null },
      el("th", { scope: "row" }, el("button", {
        class: "link", type: "button", title: data.csfs[name].description,
        onclick: () => state.goTo(state.findRun(state.currentRun.study, name, state.currentRun.seed), name),
      }, name)),
      columns.map((_, c) => shaded(values, c, r, (v) => (100 * v).toPrecision(3), rising))));
    fill("benchmark-text", caption, metric !== "silent" ? "" : state.step === PROMISED ? " Each score has its own promised threshold; without one it decides nothing alone."
      : ` ${state.step} % of the ordinary cases are decided alone.`);
    fill("benchmark", el("table", { class: "heat" },
      el("thead", {}, head), el("tbody", {}, grouped(data, rows, columns.length, body))));
  };
  state.watch(["csf", "step", "more", "metric"], draw);
}

/** @param {Page} page */
export function setUpCounts(page) {
  const { state } = page;
  state.watch(["run", "csf", "step"], () => {
    const run = state.currentRun;
    const csf = state.currentCsf;
    const promise = state.step === PROMISED ? run.promise : null;
    const heads = ["Test set", ...(promise ? [`Promise of ${percent(promise.targetRisk)}`] : []), "Cases", "Accuracy", "95 % interval", "AURC", "Sure of", "Silent failures", "of the sure", "95 % interval", "Failures handed over"];
    const rows = run.sets.map((set, i) => {
      const sum = tally(csf, run, [i], state.step);
      const silent = riskOf(sum, state.step, csf.sets[i]);
      return el("tr", { "data-set": set.name }, el("th", { scope: "row" }, set.title),
        promise ? el("td", {}, verdictBadge(verdictOf(promise.targetRisk, sum, silent, set.kind))) : null,
        [number(sum.count), percent(1 - sum.errors / sum.count),
          ends(interval(1 - sum.errors / sum.count, csf.sets[i].effective[ALL_CASES])), percent(csf.sets[i].aurc ?? NaN, 2) + bounds(csf.sets[i].aurcInterval),
          `${number(sum.trusted)} (${percent(sum.trusted / sum.count, 0)})`, number(sum.silent),
          percent(sum.trusted ? silent.rate : NaN), ends(silent.range), number(sum.errors - sum.silent)]
          .map((text) => el("td", {}, text)));
    });
    fill("counts-text", `${run.studyTitle}, ${csf.name}, ${pointText(state)}. All cases are counted, not only those that are shown one by one.`);
    fill("counts", el("table", { class: "plain" },
      el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, rows)));
  });
}
