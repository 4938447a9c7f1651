// Typical images per class (or other subgroup) and domain, source beside target.

import { picture, truthText } from "./cards.js";
import { byId, el, fill } from "./elements.js";
import { number } from "./numbers.js";

/**
 * @import { ConceptGroup, Run } from "./payload.js"
 * @import { Page } from "./state.js"
 */

const MOST = 8;

/** @param {Page} page */
export function setUpConcepts(page) {
  const { state, pictures } = page;
  const chooser = byId("concept-column", HTMLSelectElement);

  /** @param {Run} run @param {number} i */
  const thumb = (run, i) => {
    const { points } = run;
    const label = `Show a typical image on the map: ${truthText(run, i)}, ${run.sets[points.set[i]].title}`;
    return el("button", { type: "button", class: "thumb", "aria-label": label, title: "show on map", "data-point": i,
      onclick: () => page.showOnMap(i) },
      points.thumb[i] < 0 ? "no image" : picture(pictures, points.thumb[i], ""));
  };

  const draw = () => {
    const run = state.currentRun;
    byId("concepts").hidden = !run.concepts.length;
    if (!run.concepts.length) return;
    const { groups } = run.concepts[Number(chooser.value)];
    const domains = [...new Set(groups.map((g) => g.domain))];
    const values = [...new Set(groups.map((g) => g.value))];
    const { length } = run.truths;
    /** @param {ConceptGroup} group */
    const chosen = (group) => [el("div", { class: "nine" }, group.points.map((i) => thumb(run, i))),
      el("span", { class: "quiet" }, `of ${number(group.count)} on the map`)];
    const most = chooser.value === "0" && length > values.length && values.length === MOST ? `The ${MOST} most frequent of ${number(length)} classes on the map` : null;
    // a single domain needs no table: its only column would leave most of the page empty
    if (domains.length === 1) {
      fill("concept-grid", el("p", { class: "quiet" }, [domains[0], most].filter(Boolean).join(". ")),
        el("div", { class: "concept-flow" }, groups.map((g) => el("figure", {}, el("figcaption", {}, g.value), chosen(g)))));
      return;
    }
    fill("concept-grid", el("table", { class: "concepts" },
      most ? el("caption", {}, most) : null,
      el("thead", {}, el("tr", {}, el("td", {}), domains.map((d) => el("th", { scope: "col" }, d)))),
      el("tbody", {}, values.map((value) => el("tr", {}, el("th", { scope: "row" }, value), domains.map((domain) => {
        const group = groups.find((g) => g.value === value && g.domain === domain);
        return el("td", {}, group ? chosen(group) : el("span", { class: "quiet" }, "none"));
      }))))));
  };

  state.watch(["run"], () => {
    chooser.replaceChildren(...state.currentRun.concepts.map((c, i) => el("option", { value: i }, c.column)));
    draw();
  });
  chooser.addEventListener("change", draw);
}
