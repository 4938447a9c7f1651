// The most confident mistakes, as pictures: a row per group at first, more on request.

import { caseCard, mapButton } from "./cards.js";
import { failuresOf, groupsOf, tally } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { number } from "./numbers.js";

/** @import { Page } from "./state.js" */

export const MORE = 6;

/** Width of a card and its gap in the style sheet, in rem. */
const CARD = 11.5, GAP = 0.8;

/**
 * Return how many cards are shown at first, two or as many as fit beside each other.
 *
 * @param {string} id Of the element that the columns fill.
 * @param {number} columns
 */
export function firstOf(id, columns) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  return Math.max(2, Math.floor((byId(id).clientWidth / rem / columns) / (CARD + GAP)));
}

/**
 * Return the gallery of one kind of test set.
 *
 * @param {Page} page
 * @param {string} kind
 * @param {number[]} sets
 * @param {Map<string, number>} unfolded Number of cases shown per kind.
 * @param {number} first Number of cases shown initially.
 */
function galleryColumn(page, kind, sets, unfolded, first) {
  const { state, data } = page;
  const run = state.currentRun;
  const csf = state.currentCsf;
  const sum = tally(csf, run, sets, state.step);
  const failures = failuresOf(run, csf, sets);
  const grid = el("div", { class: "case-grid" });
  const more = el("button", { type: "button", class: "more" });
  let shown = 0;
  /** @param {number} count */
  const show = (count) => {
    unfolded.set(kind, shown + count);
    for (const i of failures.slice(shown, shown + count)) {
      grid.append(caseCard(page, i, { buttons: mapButton(page, i) }));
    }
    shown = Math.min(shown + count, failures.length);
    const left = failures.length - shown;
    more.hidden = !left;
    more.textContent = `show ${Math.min(MORE, left)} more`;
  };
  more.addEventListener("click", () => show(MORE));
  show(unfolded.get(kind) || first);
  const shownText = failures.length < sum.errors ? ` ${number(failures.length)} can be shown: the most confident of every test set and score.` : "";
  return el("section", { class: "gallery-group", "data-kind": kind },
    el("h3", {}, data.groups[kind].title),
    el("p", { class: "quiet" }, sum.errors
      ? `${number(sum.errors)} wrong of ${number(sum.count)}; ${number(sum.silent)} of them silent at this working point.${shownText}`
      : `No mistake among ${number(sum.count)} cases.`),
    grid, more);
}

/** @param {Page} page */
export function setUpGallery(page) {
  const { state } = page;
  const chooser = byId("gallery-set", HTMLSelectElement);
  const unfolded = new Map();
  const draw = () => {
    const run = state.currentRun;
    /** @type {[string, number[]][]} */
    const groups = chooser.value === "all"
      ? groupsOf(run)
      : [[run.sets[Number(chooser.value)].kind, [Number(chooser.value)]]];
    fill("gallery", groups.map(([kind, sets]) => galleryColumn(page, kind, sets, unfolded, firstOf("gallery", groups.length))));
  };
  state.watch(["run"], () => {
    unfolded.clear();
    chooser.replaceChildren(el("option", { value: "all" }, "all test sets"),
      ...state.currentRun.sets.map((set, i) => el("option", { value: i }, set.title)));
  });
  chooser.addEventListener("change", () => { unfolded.clear(); draw(); });
  state.watch(["run", "csf", "step"], draw);
}
