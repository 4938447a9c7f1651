// Is a promised risk kept? The verdict on a group of test cases, in words, with a symbol beside the colour.

import { listed } from "./numbers.js";

/**
 * @import { Sum } from "./counts.js"
 * @import { Range } from "./numbers.js"
 *
 * @typedef {"kept" | "unclear" | "broken"} Verdict
 */

/** @type {Record<Verdict, { symbol: string, name: string }>} */
export const VERDICTS = {
  kept: { symbol: "✓", name: "kept" },
  unclear: { symbol: "?", name: "not shown to be kept" },
  broken: { symbol: "✕", name: "broken" },
};

/** The kind of test sets of classes that the classifier does not know, so that every answer is wrong. */
export const NEW_CLASS = "new_class";

/**
 * Return whether the risk among the trusted cases keeps a promise: its 95 % interval lies below the target, above it, or around it.
 * Without a trusted case nothing can break it. For unknown classes the risk is 1, and needs no estimate.
 *
 * @param {number} target
 * @param {Sum} sum
 * @param {Range} interval NaN where there is none.
 * @param {string} kind Kind of the test sets.
 * @returns {Verdict}
 */
export function verdictOf(target, { trusted }, [low, high], kind) {
  if (!trusted) return "kept";
  if (kind === NEW_CLASS || low > target) return "broken";
  return high <= target ? "kept" : "unclear";
}

/** Return a promised risk as a number of answers in a hundred. @param {number} target */
export const inHundred = (target) => String(Number((100 * target).toPrecision(3)));

/**
 * Return in one sentence where the promise is kept and where it is not, in parts with the verdict that they are about.
 *
 * @param {{ verdict: Verdict, name: string }[]} groups At least one.
 * @returns {[Verdict, string][]}
 */
export function headline(groups) {
  /** @param {Verdict} wanted */
  const names = (wanted) => listed(groups.filter(({ verdict }) => verdict === wanted).map(({ name }) => name));
  const [kept, unclear, broken] = [names("kept"), names("unclear"), names("broken")];
  if (broken && kept) return [["kept", `Kept on ${kept},`], ["broken", `broken on ${broken}.`]];
  if (broken) return [["broken", `Broken on ${broken}.`]];
  if (unclear) return [["unclear", `Broken nowhere, but not shown to be kept on ${unclear}: too few cases to tell.`]];
  return [["kept", groups.length > 1 ? "Kept on all cases that were tested." : `Kept on ${kept}.`]];
}

/** Return the right end of the axis that shows intervals beside a target. @param {number} target @param {number[]} highest */
export const axisEnd = (target, highest) => Math.min(1, Math.max(2.5 * target, 0.02, 1.08 * Math.max(0, ...highest.filter(Number.isFinite))));
