// Cases selected on the map with a box or a lasso, as a gallery with counts.

import { caseCard, outcomeBadge } from "./cards.js";
import { ALARM, DETECTED, outcome, SILENT, TRUSTED } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { number } from "./numbers.js";

/**
 * @import { LatentMap } from "./latent.js"
 * @import { Page } from "./state.js"
 */

const SELECTED = 24;

/**
 * Return whether (x, y) lies inside a polygon, by counting crossings of its edges.
 *
 * @param {number} x
 * @param {number} y
 * @param {number[]} xs
 * @param {number[]} ys
 */
export function inside(x, y, xs, ys) {
  let odd = false;
  for (let i = 0, j = xs.length - 1; i < xs.length; j = i++) {
    if ((ys[i] > y) !== (ys[j] > y) && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i]) odd = !odd;
  }
  return odd;
}

/** @param {Page} page @param {LatentMap} map */
export function setUpSelection(page, map) {
  const { state } = page;
  const modes = ["turn", "box", "lasso"].map((mode) => ({ mode, button: byId(`latent-${mode}`) }));
  /** @type {[number, number]} */
  let start = [0, 0];

  /** @param {string} chosen */
  const setMode = (chosen) => {
    map.mode = chosen;
    for (const { mode, button } of modes) button.setAttribute("aria-pressed", String(mode === chosen));
    map.stage.dataset.mode = chosen;
  };
  for (const { mode, button } of modes) button.addEventListener("click", () => setMode(mode));
  setMode("turn");

  map.select = {
    begin: (x, y) => { start = [x, y]; map.outline([x], [y]); },
    move: (x, y) => {
      if (map.mode === "lasso") map.outline([...map.outlined()[0], x], [...map.outlined()[1], y]);
      else map.outline([start[0], x, x, start[0]], [start[1], start[1], y, y]);
    },
    end: () => {
      const [xs, ys] = map.outlined();
      const found = xs.length > 2 ? map.shownPoints().filter((i) => inside(...map.where(i), xs, ys)) : [];
      map.outline([], []);
      state.set({ selected: found });
      byId("latent-said").textContent = `${number(found.length)} selected`;
      setMode("turn");
    },
  };

  state.watch(["selected", "csf", "step", "run"], () => {
    const run = state.currentRun;
    const chosen = state.selected;
    byId("selection").hidden = !chosen.length;
    if (!chosen.length) return;
    const csf = state.currentCsf;
    const kinds = [SILENT, DETECTED, ALARM, TRUSTED]
      .map((kind) => ({ kind, members: chosen.filter((i) => outcome(run, csf, state.step, i) === kind) }));
    const classes = run.truths.map((name, c) => ({ name, n: chosen.filter((i) => run.points.label[i] === c).length })).filter(({ n }) => n);
    const order = kinds.flatMap(({ members }) => members);
    const grid = el("div", { class: "case-grid" });
    const more = el("button", { type: "button", class: "more" });
    let shown = 0;
    const show = () => {
      for (const i of order.slice(shown, shown + SELECTED)) grid.append(caseCard(page, i, { details: false }));
      shown = Math.min(shown + SELECTED, order.length);
      more.hidden = shown === order.length;
      more.textContent = `show ${Math.min(SELECTED, order.length - shown)} more`;
    };
    more.addEventListener("click", show);
    show();
    fill("selection",
      el("h3", {}, `${number(chosen.length)} selected`),
      el("p", {}, kinds.filter(({ members }) => members.length).map(({ kind, members }) => [outcomeBadge(kind), ` ${number(members.length)}   `]),
        classes.slice(0, 8).map(({ name, n }) => `${name}: ${number(n)}`).join(" · ")),
      el("p", {}, el("button", { type: "button", onclick: () => state.set({ selected: [] }) }, "clear the selection")),
      grid, more);
  });
}
