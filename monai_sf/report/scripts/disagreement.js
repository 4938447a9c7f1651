// Failures that one score misses and another catches, side by side.

import { caseCard, mapButton } from "./cards.js";
import { DETECTED, outcome, PROMISED, SILENT } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { firstOf, MORE } from "./gallery.js";
import { number } from "./numbers.js";

/**
 * @import { Run, RunScore } from "./payload.js"
 * @import { Page } from "./state.js"
 */

/** @param {Page} page */
export function setUpDisagreement(page) {
  const { state } = page;
  const chooser = byId("other-csf", HTMLSelectElement);

  /**
   * Count the failures that a misses and b catches, among all cases.
   *
   * @param {Run} run
   * @param {RunScore} a
   * @param {RunScore} b
   */
  const counted = (run, a, b) => run.missed[(run.csfs.indexOf(a) * run.csfs.length + run.csfs.indexOf(b)) * PROMISED + state.step - 1];

  /** @param {Run} run @param {RunScore} a @param {RunScore} b */
  const column = (run, a, b) => {
    const cases = missed(run, a, b);
    const all = counted(run, a, b);
    const grid = el("div", { class: "case-grid" });
    const more = el("button", { type: "button", class: "more" });
    let shown = 0;
    /** @param {number} count */
    const show = (count) => {
      for (const i of cases.slice(shown, shown + count)) grid.append(caseCard(page, i, { scores: [a, b], buttons: mapButton(page, i) }));
      shown = Math.min(shown + count, cases.length);
      more.hidden = shown === cases.length;
      more.textContent = `show ${Math.min(MORE, cases.length - shown)} more`;
    };
    more.addEventListener("click", () => show(MORE));
    show(firstOf("disagreements", 2));
    return el("section", {}, el("h3", {}, `${a.name} misses, ${b.name} catches`),
      el("p", {}, el("b", { class: "missed-count" }, number(all)), all === 1 ? " wrong answer" : " wrong answers", ` among all ${number(run.points.total)} cases`,
        cases.length < all ? `; ${number(cases.length)} of them can be shown.` : "."), grid, more);
  };

  /**
   * Return the sampled failures that a trusts and b does not, sorted by a's confidence, the highest first.
   *
   * @param {Run} run
   * @param {RunScore} a
   * @param {RunScore} b
   */
  const missed = (run, a, b) => {
    /** @type {number[]} */
    const found = [];
    for (let i = 0; i < run.points.count; i++) {
      if (outcome(run, a, state.step, i) === SILENT && outcome(run, b, state.step, i) === DETECTED) found.push(i);
    }
    return found.sort((i, j) => a.step[i] - a.step[j] || i - j);
  };

  const draw = () => {
    const run = state.currentRun;
    const first = state.currentCsf;
    const second = run.csfs.find((csf) => csf.name === chooser.value);
    byId("disagreement").hidden = !second;
    if (!second) return;
    fill("disagreements",
      column(run, first, second), column(run, second, first));
  };

  state.watch(["run", "csf", "more"], () => {
    const run = state.currentRun;
    const first = state.currentCsf;
    const others = state.offered.filter((csf) => csf !== first);
    chooser.replaceChildren(...others.map(({ name }) => el("option", { value: name }, name)));
    // the initial choice is the score that differs most in both directions
    const counts = others.map((csf) => Math.min(counted(run, first, csf), counted(run, csf, first)));
    if (others.length) chooser.value = others[counts.indexOf(Math.max(...counts))].name;
  });
  chooser.addEventListener("change", draw);
  state.watch(["run", "csf", "step", "more"], draw);
}
