// What becomes of the cases of each kind at the working point: decided or handed over, right or wrong.

import { ALL_CASES, groupsOf, tally } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { interval, number, ofHundred, percent, rangeText, wholes } from "./numbers.js";
import { NEW_CLASS } from "./verdicts.js";

/**
 * @import { Sum } from "./counts.js"
 * @import { TestSet } from "./payload.js"
 * @import { Page } from "./state.js"
 */

/** Share of silent failures at and above which a cell of the breakdown is darkest. */
const MOST_SHADED = 0.5;

/**
 * Return the outcomes of all cases: their class in the style sheet, their description and their number.
 *
 * @param {Sum} sum
 * @returns {[string, string, number][]}
 */
const fates = ({ count, errors, trusted, silent }) => [
  ["correct", "decided alone, right", trusted - silent],
  ["silent", "decided alone, wrong: silent failures", silent],
  ["caught", "handed over, would have been wrong", errors - silent],
  ["alarm", "handed over, would have been right", count - trusted - (errors - silent)],
];

/** Draw one hundred little squares, coloured by outcome, the silent failures crossed out. @param {Sum} sum */
function hundred(sum) {
  const all = fates(sum);
  const shares = wholes(all.map(([, , n]) => n), 100);
  const kinds = all.flatMap(([kind], k) => Array.from({ length: shares[k] }, () => kind));
  return el("svg:svg", { viewBox: "0 0 219 54", class: "hundred", role: "img",
    "aria-label": `Of 100 cases: ${all.map(([, text], k) => `${shares[k]} ${text}`).join("; ")}` },
  kinds.map((kind, i) => {
    const x = (i % 20) * 11, y = Math.floor(i / 20) * 11;
    return [el("svg:rect", { x: x + 0.5, y: y + 0.5, width: 9, height: 9, rx: 2, class: kind }),
      kind === "silent" ? el("svg:path", { d: `M${x + 2.8} ${y + 2.8}l4.4 4.4m0-4.4l-4.4 4.4`, class: "x" }) : null,
      kind === "caught" ? el("svg:path", { d: `M${x + 2.8} ${y + 7.2}l4.4-4.4`, class: "x" }) : null];
  }));
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
  const right = 1 - sum.errors / sum.count;
  const whole = interval(right, state.currentCsf.effective[kind][ALL_CASES]);
  return el("article", { class: "group-card", "data-kind": kind },
    el("h3", {}, title, el("span", { class: "quiet" }, ` ${number(sum.count)} cases`)),
    el("p", { class: "quiet" }, described.length ? described.join(" ") : isTarget ? `${meaning}: ${run.studyTitle}` : meaning),
    hundred(sum),
    el("div", { class: "card-sides" }, el("ul", { class: "fates" }, fates(sum).map(([name, text, n]) => el("li", {}, el("span", { class: `swatch ${name}`, "aria-hidden": "true" }),
      el("b", { class: `${name}-count` }, number(n)), el("span", {}, text), el("span", { class: "quiet" }, percent(n / sum.count))))),
    breakdown(page, sets)),
    el("p", { class: "quiet" }, kind === NEW_CLASS ? "No answer on them can be right."
      : `Deciding all cases alone, it would be right in ${percent(right)} (${rangeText(whole)}).`));
}

/** @param {Page} page */
export function setUpSummary(page) {
  const { state } = page;
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
