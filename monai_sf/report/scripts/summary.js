// The answer in ten seconds: of 100 cases that the system is sure of, how many are wrong?

import { ALL_CASES, groupsOf, tally } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { interval, listed, number, ofHundred, percent, rangeText } from "./numbers.js";

/**
 * @import { Sum } from "./counts.js"
 * @import { Child } from "./elements.js"
 * @import { Run, RunScore, TestSet } from "./payload.js"
 * @import { Page } from "./state.js"
 *
 * @typedef {{ index: number, run: Run, csf: RunScore, kind: string, sets: number[] }} Tile A group of test sets of a study.
 * @typedef {Tile & { sum: Sum }} CountedTile
 */

/** Share of silent failures at and above which a cell of the breakdown is darkest. */
const MOST_SHADED = 0.5;

/** Draw one hundred little squares, the wrong ones crossed out in red. @param {number} wrong */
function hundred(wrong) {
  const squares = [];
  for (let i = 0; i < 100; i++) {
    const x = (i % 20) * 11, y = Math.floor(i / 20) * 11;
    squares.push(el("svg:rect", { x: x + 0.5, y: y + 0.5, width: 9, height: 9, rx: 2, class: i < wrong ? "wrong" : "right" }));
    if (i < wrong) squares.push(el("svg:path", { d: `M${x + 2.8} ${y + 2.8}l4.4 4.4m0-4.4l-4.4 4.4`, class: "x" }));
  }
  return el("svg:svg", { viewBox: "0 0 219 54", class: "hundred", role: "img",
    "aria-label": `${wrong} of 100 squares are marked as wrong` }, squares);
}

/** Draw the outcomes of all cases of the group as one bar of four parts. @param {Sum} sum */
function fate(sum) {
  const handed = sum.count - sum.trusted;
  const caught = sum.errors - sum.silent;
  /** @type {[string, number][]} */
  const parts = [["correct", sum.trusted - sum.silent], ["silent", sum.silent], ["caught", caught], ["alarm", handed - caught]];
  const label = `${number(sum.trusted - sum.silent)} decided and correct, ${number(sum.silent)} silent failures, ` +
    `${number(caught)} failures handed to a person, ${number(handed - caught)} correct ones handed to a person`;
  return el("div", { class: "fate", role: "img", "aria-label": label },
    parts.map(([name, n]) => el("span", { class: name, style: `flex-grow:${n}`, title: `${number(n)}` })));
}

/**
 * Return the number of wrong answers among 100 sure ones: one row per kind of corruption or domain, one column per severity.
 *
 * @param {Page} page
 * @param {number[]} sets
 */
function breakdown(page, sets) {
  const { state } = page;
  const run = state.currentRun;
  /** @param {TestSet} set */
  const rowOf = (set) => set.corruption ?? set.name;
  const rows = [...new Map(sets.map((i) => [rowOf(run.sets[i]), run.sets[i].corruption ? run.sets[i].domain : run.sets[i].title]))];
  const columns = [...new Set(sets.map((i) => run.sets[i].severity))].sort((a, b) => a - b);
  if (sets.length < 2) return null;
  /** @param {string} row @param {number} severity */
  const cell = (row, severity) => {
    const found = sets.find((i) => run.sets[i].severity === severity && rowOf(run.sets[i]) === row);
    if (found === undefined) return el("td", {}, "");
    const { silent, trusted } = tally(state.currentCsf, run, [found], state.step);
    return el("td", { style: `--t:${trusted ? Math.min(silent / trusted / MOST_SHADED, 1).toFixed(3) : 0}`, title: `${number(silent)} of ${number(trusted)}` },
      trusted ? ofHundred(silent, trusted).digits : "–");
  };
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Wrong of 100 sure, by test set" }, el("table", { class: "breakdown" },
    el("caption", {}, "Wrong of 100 the system was sure of"),
    columns.some(Boolean) ? el("thead", {}, el("tr", {}, el("th", {}, "severity"), columns.map((s) => el("th", { scope: "col" }, String(s))))) : null,
    el("tbody", {}, rows.map(([row, title]) => el("tr", {}, el("th", { scope: "row" }, title), columns.map((s) => cell(row, s)))))));
}

/** @param {Page} page @param {string} kind @param {number[]} sets */
function groupCard(page, kind, sets) {
  const { state, data } = page;
  const run = state.currentRun;
  const sum = tally(state.currentCsf, run, sets, state.step);
  const { title, meaning, has_target: isTarget } = data.groups[kind];
  const described = [...new Set(sets.map((i) => run.sets[i].description).filter(Boolean))].slice(0, 3);
  const silent = interval(sum.silent / sum.trusted, state.currentCsf.effective[kind][state.step - 1]);
  const right = 1 - sum.errors / sum.count;
  const whole = interval(right, state.currentCsf.effective[kind][ALL_CASES]);
  const handed = sum.count - sum.trusted;
  const caught = sum.errors - sum.silent;
  const many = ofHundred(sum.silent, sum.trusted);
  const headline = sum.trusted
    ? el("p", { class: "headline" }, "Of 100 cases the system was sure of, ",
      el("strong", {}, many.words), ` ${many.verb} wrong.`)
    : el("p", { class: "headline" }, "The system was sure of none of these cases.");
  return el("article", { class: "group-card", "data-kind": kind },
    el("h3", {}, title),
    el("p", { class: "quiet" }, described.length ? described.join(" ") : isTarget ? `${meaning}: ${run.studyTitle}` : meaning),
    headline,
    sum.trusted ? hundred(Math.round((100 * sum.silent) / sum.trusted)) : null,
    fate(sum),
    breakdown(page, sets),
    el("p", {}, "Sure of ", el("b", {}, `${number(sum.trusted)} of ${number(sum.count)}`), ` (${percent(sum.trusted / sum.count, 0)}), `,
      el("b", { class: "silent-count" }, number(sum.silent)), " of them wrong: ",
      `${percent(sum.silent / sum.trusted)} (${rangeText(silent)}).`),
    el("p", { class: "quiet" }, `Handed to a person: ${number(handed)}, of which ${number(caught)} would have been wrong. `,
      `Deciding all cases alone, it would be right in ${percent(right)} (${rangeText(whole)}).`));
}

/**
 * Return the groups compared at the top: ordinary and corrupted cases, and the targets of all studies.
 *
 * @param {Page} page
 * @returns {Tile[]}
 */
function overviewOf({ state, data }) {
  const home = data.runs.some((run) => run.study === "iid") ? "iid" : data.runs[0].study;
  return [...new Set(data.runs.map((run) => run.study))].flatMap((study) => {
    const index = state.findRun(study, state.csf, state.currentRun.seed);
    const run = data.runs[index];
    const csf = run.csfs.find((entry) => entry.name === state.csf);
    if (!csf) return [];
    return groupsOf(run).filter(([kind]) => study === home || data.groups[kind].has_target)
      .map(([kind, sets]) => ({ index, run, csf, kind, sets }));
  });
}

/** @param {Sum} sum */
const rateOf = ({ silent, trusted }) => (trusted ? silent / trusted : 0);

/**
 * Return the message of the tiles in one sentence: is the result worse anywhere than on the ordinary cases?
 *
 * @param {Page} page
 * @param {CountedTile[]} tiles
 * @returns {Child}
 */
function answerOf(page, tiles) {
  const { state } = page;
  /** @param {CountedTile} tile */
  const many = ({ sum }) => ofHundred(sum.silent, sum.trusted);
  /** @param {CountedTile} tile */
  const text = (tile) => many(tile).digits;
  /** @param {CountedTile} tile */
  const told = (tile) => [el("strong", {}, text(tile)), ` ${many(tile).verb} wrong`];
  const sure = tiles.filter(({ sum }) => sum.trusted);
  const [ordinary] = sure.filter(({ kind }) => kind === "iid");
  const others = sure.filter((tile) => tile !== ordinary);
  if (!sure.length) return "At this working point the system decides nothing alone.";
  const [worst] = [...(others.length ? others : sure)].sort((a, b) => rateOf(b.sum) - rateOf(a.sum));
  /** @param {CountedTile} tile */
  const bounds = (tile) => interval(rateOf(tile.sum), tile.csf.effective[tile.kind][state.step - 1]);
  if (!ordinary || !others.length) {
    const [low, high] = bounds(worst);
    return ["Of 100 cases the system was sure of, ", told(worst), others.length ? ` on ${nameOf(page, worst)}.` : ".", el("span", { class: "quiet" },
      ` From ${number(worst.sum.trusted)} ${worst.sum.trusted === 1 ? "case" : "cases"} it was sure of; ${rangeText([low, high], 0)}.`)];
  }
  if (rateOf(worst.sum) <= rateOf(ordinary.sum) || text(worst) === text(ordinary)) {
    return ["Of 100 cases the system was sure of, ", told(ordinary), " on ordinary cases, and no more on the other images that were tested."];
  }
  const named = others.filter((tile) => text(tile) === text(worst));
  const known = [...named, ordinary].every((tile) => !Number.isNaN(bounds(tile)[0]));
  const apart = named.some((tile) => bounds(tile)[0] > bounds(ordinary)[1]);
  return ["Of 100 cases the system was sure of, ", told(ordinary), " on ordinary cases, but ", told(worst)[0], " on ", listed(named.map((tile) => nameOf(page, tile))), ".",
    apart ? null : el("span", { class: "quiet" }, known ? " The 95 % intervals overlap, so the difference may be chance."
      : " There is no interval for the cases of a single patient, so the difference may be chance.")];
}

/** Name the cases of a tile, for use within a sentence. @param {Page} page @param {Tile} tile */
function nameOf({ data }, { kind, run }) {
  const { title, has_target: own } = data.groups[kind];
  return `${title[0].toLowerCase()}${title.slice(1)}${own ? ` (${run.studyTitle})` : ""}`;
}

/** Draw one tile per group of test sets of any study: where does the classifier fail silently? @param {Page} page */
function drawOverview(page) {
  const { state, data } = page;
  const tiles = overviewOf(page).map((tile) => ({ ...tile, sum: tally(tile.csf, tile.run, tile.sets, state.step) }));
  fill("answer", answerOf(page, tiles));
  const several = new Set(data.runs.map((run) => run.study)).size > 1;
  byId("overview").hidden = !several;
  if (!several) return;
  const most = Math.max(...tiles.map(({ sum }) => rateOf(sum)), 0.01);
  fill("overview", el("div", { class: "tiles" }, tiles.map(({ index, run, csf, kind, sum }) => {
    const { title, has_target: own } = data.groups[kind];
    const range = interval(rateOf(sum), csf.effective[kind][state.step - 1]);
    return el("button", { type: "button", class: "tile", "data-kind": kind, "aria-pressed": String(run.study === state.currentRun.study),
      title: `${rangeText(range)}; ${number(sum.silent)} of ${number(sum.trusted)}`,
      onclick: () => state.goTo(index) },
    el("strong", {}, sum.trusted ? ofHundred(sum.silent, sum.trusted).digits : "–"),
    el("span", {}, title, own ? el("span", { class: "quiet" }, run.studyTitle) : null),
    el("span", { class: "bar", style: `width:${(100 * rateOf(sum)) / most}%`, "aria-hidden": "true" }));
  })));
}

/** @param {Page} page */
export function setUpSummary(page) {
  const { state } = page;
  state.watch(["run", "csf", "step"], () => drawOverview(page));
  state.watch(["run", "csf", "step"], () => {
    const run = state.currentRun;
    fill("cards", groupsOf(run).map(([kind, sets]) => groupCard(page, kind, sets)));
    fill("study-text", run.description ? [el("b", {}, run.studyTitle), `: ${run.description}`] : "");
    byId("study-text").hidden = !run.description;
    const notes = [...page.data.notes, ...run.notes];
    fill("notes", notes.map(({ text }) => el("li", {}, text)));
    byId("notes-box").hidden = !notes.length;
  });
}
