// Who is affected: silent failures by class, place, sex, age ..., and the cases behind every number.

import { caseCard, mapButton } from "./cards.js";
import { byId, el, fill } from "./elements.js";
import { MORE } from "./gallery.js";
import { number, percent } from "./numbers.js";

/**
 * @import { Child } from "./elements.js"
 * @import { Affected, AffectedSet, GroupRow, Run } from "./payload.js"
 * @import { Page } from "./state.js"
 *
 * @typedef {{ set: AffectedSet, row: GroupRow }} Marked A group that is worse than the rest of a test set.
 */

/** Numbers of rows of a column, and of cases behind a row, that are shown at first. */
const ROWS = 6, FIRST = 2;

/** Sampled cases that belong to no group have this code. */
const NONE = 65535;

/** Name a group with its column, such as "hospital B". @param {Affected} affected @param {GroupRow} row */
export const groupName = ({ columns }, { column, group }) => `${columns[column].name} ${columns[column].groups[group]}`;

/**
 * Return the rows of a column: the worse groups first, then by rate of silent failures; groups too small to be judged come last.
 *
 * @param {GroupRow[]} rows
 * @param {number} column
 */
export const ordered = (rows, column) => rows.filter((row) => row.column === column)
  .sort((a, b) => Number(b.worse) - Number(a.worse) || Number(a.tooSmall) - Number(b.tooSmall) || b.rate[0] - a.rate[0] || b.cases - a.cases);

/**
 * Return two shares as numbers of a hundred, with a decimal where they would look alike.
 *
 * @param {number} own
 * @param {number} rest
 * @returns {[string, string]}
 */
export function ofHundredEach(own, rest) {
  const digits = Math.round(100 * own) === Math.round(100 * rest) || Math.min(own, rest) < 0.005 && rest > 0 ? 1 : 0;
  return [(100 * own).toFixed(digits), (100 * rest).toFixed(digits)];
}

/**
 * Return the group that is most at risk: of the first test set with a marked group, the one that differs most from the rest.
 *
 * @param {AffectedSet[]} sets The ordinary cases first.
 * @returns {Marked | null}
 */
export function mostAtRisk(sets) {
  const [found] = sets.flatMap((set) => {
    const [row] = set.rows.filter(({ worse }) => worse).sort((a, b) => (b.rate[0] - (b.rest ?? 0)) - (a.rate[0] - (a.rest ?? 0)));
    return row ? [{ set, row }] : [];
  });
  return found ?? null;
}

/** Return what deferring the doubtful cases does to the distance of a group from the others. @param {string} name @param {GroupRow} row */
export const gapText = (name, { gap }) => (gap ? `${name}: ${percent(gap[0], 0)} of all answers are wrong against ${percent(gap[1], 0)} elsewhere, `
  + `but ${percent(gap[2], 0)} against ${percent(gap[3], 0)} of those the system is sure of.` : "");

/** @param {AffectedSet} set */
function smallText({ rows }) {
  const small = rows.filter(({ tooSmall }) => tooSmall).length;
  return small ? ` ${number(small)} ${small === 1 ? "is" : "are"} too small to be judged.` : "";
}

/** Draw the interval of a rate, and the rate of the rest as a line, on an axis from 0 to `end`. @param {GroupRow} row @param {number} end */
function rateBar({ rate: [rate, low, high], rest }, end) {
  /** @param {number} v */
  const at = (v) => `${(100 * Math.min(v / end, 1)).toFixed(2)}%`;
  return el("span", { class: "range-bar", "aria-hidden": "true" },
    low === null || high === null ? null : el("span", { class: "band", style: `left:${at(low)};right:calc(100% - ${at(high)})` }),
    rest === null ? null : el("span", { class: "rest", style: `left:${at(rest)}` }),
    el("span", { class: "dot", style: `left:${at(rate)}` }));
}

/** @param {[number, number | null, number | null]} range @param {number} digits */
const withRange = ([value, low, high], digits = 1) => (
  `${percent(value, digits)}${low === null ? "" : ` (${percent(low, digits)} to ${percent(high, digits)})`}`);

/**
 * Return the sampled silent failures of a group, the most confident first.
 *
 * @param {Page} page
 * @param {AffectedSet} set
 * @param {GroupRow} row
 */
function membersOf({ state }, set, row) {
  const { points, affected } = state.currentRun;
  const csf = state.currentCsf;
  const codes = affected?.columns[row.column].codes ?? [];
  const silent = affected?.csfs[csf.name].silent ?? [];
  /** @type {number[]} */
  const found = [];
  for (let i = 0; i < points.count; i++) {
    if (points.set[i] === set.set && silent[i] && codes[i] !== NONE && codes[i] === row.group) found.push(i);
  }
  return found.sort((a, b) => csf.confidence[b] - csf.confidence[a] || a - b);
}

/** Return what is behind the numbers of a group. @param {Page} page @param {AffectedSet} set @param {GroupRow} row @returns {Child} */
function behind(page, set, row) {
  const members = membersOf(page, set, row);
  const step = page.state.currentRun.affected?.csfs[page.state.currentCsf.name].step;
  const grid = el("div", { class: "case-grid" });
  const more = el("button", { type: "button", class: "more" });
  let shown = 0;
  /** @param {number} count */
  const show = (count) => {
    for (const i of members.slice(shown, shown + count)) grid.append(caseCard(page, i, { buttons: mapButton(page, i), step }));
    shown = Math.min(shown + count, members.length);
    more.hidden = shown === members.length;
    more.textContent = `show ${Math.min(MORE, members.length - shown)} more`;
  };
  more.addEventListener("click", () => show(MORE));
  show(FIRST);
  return [el("p", {}, `Silent failures ${withRange(row.rate)}${row.rest === null ? "" : `, ${percent(row.rest)} elsewhere`}. `
    + `Decided alone ${withRange(row.coverage, 0)}. AUGRC ${withRange(row.augrc, 2)}. Wrong answers ${percent(row.errors / row.cases)}. `
    + `${number(row.cases)} cases${row.clusters < row.cases ? ` of ${number(row.clusters)} groups, such as patients` : ""}.`),
  members.length < row.silent ? el("p", { class: "quiet" }, `${number(members.length)} of the ${number(row.silent)} silent failures can be shown.`) : null,
  grid, more];
}

/** @param {Page} page @param {AffectedSet} set @param {GroupRow} row @param {string} name @param {number} end */
function groupRow(page, set, row, name, end) {
  const inside = el("div", { class: "behind" });
  const details = el("details", { class: row.worse ? "affected-row is-worse" : "affected-row" },
    el("summary", {},
      el("span", { class: "affected-name" }, row.worse ? el("span", { class: "symbol", "aria-hidden": "true" }, "▲ ") : null, name),
      row.worse ? el("span", { class: "affected-mark" }, " worse than the rest") : row.tooSmall ? el("span", { class: "quiet" }, " too small to be judged") : null,
      el("b", { class: "affected-rate" }, percent(row.rate[0])),
      rateBar(row, end),
      el("span", { class: "quiet" }, `${number(row.silent)} of ${number(row.cases)} fail silently · decided alone ${percent(row.coverage[0], 0)} · AUGRC ${percent(row.augrc[0])}`)),
    inside);
  details.addEventListener("toggle", () => {
    if (details.open && !inside.childNodes.length) inside.append(el("div", {}, behind(page, set, row)));
  });
  return details;
}

/** @param {Page} page @param {Affected} affected @param {AffectedSet} set @param {number} column @param {number} end */
function columnCard(page, affected, set, column, end) {
  const rows = ordered(set.rows, column);
  const list = el("div", {});
  const more = el("button", { type: "button", class: "more" });
  const first = Math.max(ROWS, rows.filter(({ worse }) => worse).length);
  /** @param {GroupRow[]} part */
  const show = (part) => list.append(...part.map((row) => groupRow(page, set, row, affected.columns[column].groups[row.group], end)));
  show(rows.slice(0, first));
  more.hidden = rows.length <= first;
  more.textContent = `show ${rows.length - first} more`;
  more.addEventListener("click", () => { show(rows.slice(first)); more.hidden = true; });
  return el("section", { class: "affected-column" }, el("h4", {}, affected.columns[column].name), list, more);
}

/**
 * Return the groups of a test set. Only the first one shows all columns at once, the others those with a marked group.
 *
 * @param {Page} page
 * @param {Run} run
 * @param {Affected} affected
 * @param {AffectedSet} set
 * @param {boolean} first
 */
function setPart(page, run, affected, set, first) {
  const { title, count } = run.sets[set.set];
  const columns = [...new Set(set.rows.map(({ column }) => column))];
  /** @param {number} column */
  const isMarked = (column) => set.rows.some((row) => row.column === column && row.worse);
  columns.sort((a, b) => Number(isMarked(b)) - Number(isMarked(a)) || a - b);
  const open = columns.filter((column) => first || isMarked(column));
  const folded = columns.filter((column) => !open.includes(column));
  const worse = set.rows.filter((row) => row.worse);
  const wider = set.rows.filter(({ gap }) => gap);
  const judged = set.rows.filter(({ tooSmall }) => !tooSmall).length;
  const end = Math.max(0.01, ...set.rows.filter(({ tooSmall }) => !tooSmall).map(({ rate }) => rate[2] ?? rate[0]));
  /** @param {number[]} of */
  const cards = (of) => el("div", { class: "affected-columns" }, of.map((column) => columnCard(page, affected, set, column, end)));
  return el("section", { class: "affected-set" },
    el("h3", {}, `${title} `, el("span", { class: "quiet" }, `${number(count)} cases`)),
    el("p", {}, worse.length
      ? [el("b", {}, `${number(worse.length)} ${worse.length === 1 ? "group stands" : "groups stand"} out`), ` among ${number(judged)}: ${worse.map((row) => groupName(affected, row)).join(", ")}.`]
      : [el("b", {}, "No group stands out"), ` among ${number(judged)}.`], smallText(set)),
    wider.length ? el("div", { class: "affected-gap" }, el("p", {}, el("b", {}, "Handing over the doubtful cases makes the distance wider"), ", while the average gets better:"),
      el("ul", {}, wider.map((row) => el("li", {}, gapText(groupName(affected, row), row))))) : null,
    cards(open),
    folded.length ? el("details", {}, el("summary", {}, `by ${folded.map((column) => affected.columns[column].name).join(", ")}`), cards(folded)) : null);
}

/** Fill the sentence of the first view. @param {Run} run @param {Affected} affected @param {AffectedSet[]} sets */
function drawAtRisk(run, affected, sets) {
  const found = mostAtRisk(sets);
  byId("at-risk").hidden = !found;
  if (!found) return;
  const { set, row } = found;
  const [own, rest] = ofHundredEach(row.rate[0], row.rest ?? 0);
  fill("at-risk", "Most at risk: ", el("a", { href: "#affected" }, groupName(affected, row)), ` – ${own} of 100 cases fail silently, against ${rest} of 100 elsewhere`,
    run.sets[set.set].kind === "iid" ? "." : ` (${run.sets[set.set].title}).`);
}

/** @param {Page} page */
export function setUpGroups(page) {
  const { state } = page;
  state.watch(["run", "csf"], () => {
    const run = state.currentRun;
    const { affected } = run;
    const found = affected?.csfs[state.currentCsf.name];
    byId("affected").hidden = !affected;
    byId("at-risk").hidden = true;
    if (!affected) return;
    if (!found) {
      const known = Object.keys(affected.csfs).join(", ");
      fill("affected-text", `This is known for ${known}: choose one of these scores above.`);
      fill("affected-sets");
      return;
    }
    const { name } = state.currentCsf;
    fill("affected-text", found.promised ? `Sure means at or above the promised threshold of ${name}.`
      : `Nothing is promised for ${name}, so sure means at or above the threshold that keeps ${found.step} % of ${run.sets[0].kind === "iid" ? "the ordinary cases" : `“${run.sets[0].title}”`}.`);
    fill("affected-sets", found.sets.map((set, i) => setPart(page, run, affected, set, i === 0)),
      affected.leftOut.length ? el("p", { class: "quiet" }, `Not compared: ${affected.leftOut.map(([column, why]) => `${column} (${why})`).join(", ")}.`) : null);
    drawAtRisk(run, affected, found.sets);
  });
}
