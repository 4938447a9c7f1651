// Where the numbers come from.

import { el, fill } from "./elements.js";
import { number } from "./numbers.js";

/** @import { Page } from "./state.js" */

/** @param {Page} page */
export function setUpProvenance(page) {
  const { report, runs } = page.data.provenance;
  const facts = [["made", report.made], ["monai_sf", report.monai_sf], ["Python", report.python],
    ...Object.entries(report.packages), ...Object.entries(report.settings).map(([k, v]) => [k.replaceAll("_", " "), String(v)])];
  fill("provenance", el("dl", { class: "facts" }, facts.map(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])),
    runs.map((run) => el("details", {}, el("summary", {}, run.title),
      el("table", { class: "plain" }, el("caption", {}, "What was counted, and what is shown one by one"),
        el("thead", {}, el("tr", {}, ["Test set", "cases", "shown"].map((h) => el("th", { scope: "col" }, h)))),
        el("tbody", {}, run.cases.map(([name, all, shown]) => el("tr", {}, el("th", { scope: "row" }, name),
          el("td", {}, number(all)), el("td", {}, number(shown)))))),
      el("pre", {}, run.run))));
}
