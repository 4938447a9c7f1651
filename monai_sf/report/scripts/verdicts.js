// Is a promised risk kept? The verdict on a group of test cases, in words, with a symbol beside the colour.

import { listed } from "./numbers.js";

/**
 * @import { Risk, Sum } from "./counts.js"
 *
 * @typedef {"kept" | "broken" | "unclear" | "few" | "none" | "unpromised"} Verdict
 */

/** @type {Record<Verdict, { symbol: string, name: string }>} */
export const VERDICTS = {
  kept: { symbol: "✓", name: "kept" },
  broken: { symbol: "✕", name: "broken" },
  unclear: { symbol: "?", name: "not shown to be kept" },
  few: { symbol: "?", name: "not shown, too few patients" },
  none: { symbol: "–", name: "sure of no case" },
  unpromised: { symbol: "–", name: "nothing promised" },
};

/** The kind of test sets of classes that the classifier does not know, so that every answer is wrong. */
export const NEW_CLASS = "new_class";

/**
 * Return whether the risk among the trusted cases keeps a promise: its 95 % interval lies below the target, above it, or around it.
 * Without a trusted case there is nothing to keep, and few patients show nothing. For unknown classes the risk is 1, and needs no estimate.
 *
 * @param {number} target
 * @param {Sum} sum
 * @param {Risk} risk Its interval is NaN where there is none.
 * @param {string} kind Kind of the test sets.
 * @returns {Verdict}
 */
export function verdictOf(target, { trusted }, { range: [low, high], few }, kind) {
  if (!trusted) return "none";
  if (kind === NEW_CLASS) return "broken";
  if (few) return "few";
  if (low > target) return "broken";
  return high <= target ? "kept" : "unclear";
}

/** Return a promised risk as a number of answers in a hundred. @param {number} target */
export const inHundred = (target) => String(Number((100 * target).toPrecision(3)));

/** Verdicts in the order of the headline, with what it says of the cases that have them: before and after these. @type {[Verdict, string, string][]} */
const SAID = [
  ["kept", "kept on", ""],
  ["broken", "broken on", ""],
  ["unclear", "not shown to be kept on", " (too close to tell)"],
  ["few", "not shown to be kept on", " (too few patients)"],
  ["none", "sure of no case on", ""],
  ["unpromised", "nothing promised on", ""],
];

/**
 * Return in one sentence where the promise is kept and where it is not, in parts with the verdict that they are about. Nothing is left out.
 *
 * @param {{ verdict: Verdict, name: string }[]} groups At least one.
 * @returns {[Verdict, string][]}
 */
export function headline(groups) {
  if (groups.length > 1 && groups.every(({ verdict }) => verdict === "kept")) return [["kept", "Kept on all cases that were tested."]];
  const parts = SAID.map(([verdict, before, after]) => ({ verdict, before, after, names: groups.filter((group) => group.verdict === verdict).map(({ name }) => name) }))
    .filter(({ names }) => names.length);
  return parts.map(({ verdict, before, after, names }, i) => {
    const first = i ? before : `${before[0].toUpperCase()}${before.slice(1)}`;
    return [verdict, `${first} ${listed(names)}${after}${i < parts.length - 1 ? "," : "."}`];
  });
}

/** Return the right end of the axis that shows intervals beside a target. @param {number} target @param {number[]} highest */
export const axisEnd = (target, highest) => Math.min(1, Math.max(2.5 * target, 0.02, 1.08 * Math.max(0, ...highest.filter(Number.isFinite))));
