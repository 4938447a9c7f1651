// Outcomes of cases at a working point, individually and as counts.

import { interval } from "./numbers.js";
import { NEW_CLASS } from "./verdicts.js";

/**
 * @import { Range } from "./numbers.js"
 * @import { Run, RunScore, Seen } from "./payload.js"
 *
 * @typedef {{ count: number, errors: number, trusted: number, silent: number }} Sum
 * @typedef {{ rate: number, range: Range, few: boolean }} Risk Among the trusted cases, with its 95 % interval, and whether they are of few patients.
 */

/** The four outcomes of failure detection for a case; "positive" means that the score predicts a failure. */
export const TRUSTED = 0;
export const ALARM = 1;
export const DETECTED = 2;
export const SILENT = 3;

/** The working point of the promised threshold, after those of 1 to 100 per cent of the ordinary cases. */
export const PROMISED = 101;

/** Return whether a score has a promised threshold. @param {RunScore} csf */
export const isPromised = ({ promise }) => typeof promise?.threshold === "number";

/**
 * Return whether a case is trusted at a working point.
 *
 * @param {{ step: Uint8Array, promised: Uint8Array }} csf By case.
 * @param {number} step
 * @param {number} i
 */
export const isTrusted = (csf, step, i) => (step === PROMISED ? csf.promised[i] === 1 : csf.step[i] <= step);

/** Return the outcome of a case. @param {boolean} wrong @param {boolean} trusted */
export const outcomeOf = (wrong, trusted) => (wrong ? (trusted ? SILENT : DETECTED) : (trusted ? TRUSTED : ALARM));

/** Return whether sampled case i is a failure of a score's model. @param {Run} run @param {RunScore} csf @param {number} i */
export const isWrong = (run, csf, i) => csf.prediction[i] !== run.points.label[i];

/**
 * Return the outcome of sampled case i at a working point.
 *
 * @param {Run} run
 * @param {RunScore} csf
 * @param {number} step
 * @param {number} i
 */
export const outcome = (run, csf, step, i) => outcomeOf(isWrong(run, csf, i), isTrusted(csf, step, i));

/** Index of the effective sample size of all cases, trusted or not. */
export const ALL_CASES = 101;

/**
 * Return the share of the reference test set, usually the ordinary cases, that is trusted at a working point.
 *
 * @param {Run} run
 * @param {RunScore} csf
 * @param {number} step
 */
export const shareDecided = (run, csf, step) => csf.sets[0].trusted[step - 1] / run.sets[0].count;

/**
 * Count the cases of a group of test sets (indices) at a working point: all cases, not only the sampled ones.
 *
 * @param {RunScore} csf
 * @param {Run} run
 * @param {Iterable<number>} sets
 * @param {number} step
 * @returns {Sum}
 */
export function tally(csf, run, sets, step) {
  const sum = { count: 0, errors: 0, trusted: 0, silent: 0 };
  for (const i of sets) {
    sum.count += run.sets[i].count;
    sum.errors += csf.sets[i].errors;
    sum.trusted += csf.sets[i].trusted[step - 1];
    sum.silent += csf.sets[i].silent[step - 1];
  }
  return sum;
}

/**
 * Return the risk among the trusted cases: at the promised threshold that of a random case of a patient, which is promised, else that of a case.
 *
 * @param {Sum} sum
 * @param {number} step
 * @param {{ seen: Seen | null, effective: Float32Array }} found On the same cases.
 * @returns {Risk}
 */
export function riskOf({ silent, trusted }, step, { seen, effective }) {
  if (step === PROMISED && seen) return { rate: seen.rate, range: [seen.low ?? NaN, seen.high ?? NaN], few: seen.few };
  const rate = trusted ? silent / trusted : 0;
  return { rate, range: interval(rate, effective[step - 1]), few: false };
}

/**
 * Return the summed counts of several runs.
 *
 * @param {[Run, RunScore, number[]][]} parts
 * @param {number} step
 */
export function pooled(parts, step) {
  const sums = parts.map(([run, csf, sets]) => tally(csf, run, sets, step));
  /** @param {keyof Sum} key */
  const total = (key) => sums.reduce((sum, part) => sum + part[key], 0);
  return { count: total("count"), errors: total("errors"), trusted: total("trusted"), silent: total("silent") };
}

/**
 * Group the test sets of a run by kind, in the order of the page.
 *
 * @param {Run} run
 * @returns {[kind: string, sets: number[]][]}
 */
export function groupsOf(run) {
  /** @type {Map<string, number[]>} */
  const kinds = new Map();
  run.sets.forEach((set, i) => kinds.set(set.kind, [...(kinds.get(set.kind) || []), i]));
  return [...kinds];
}

/**
 * Return the test sets (indices) that curve and AURC of a test set are computed on: among unknown classes alone all cases are
 * failures, so that they are judged together with the ordinary cases.
 *
 * @param {Run} run
 * @param {number} set
 */
export function judgedOn(run, set) {
  const beside = run.sets[set].kind === NEW_CLASS ? run.sets.findIndex(({ kind }) => kind === "iid") : -1;
  return beside < 0 ? [set] : [set, beside];
}

/**
 * Return the sampled failures of some test sets, the most confident first.
 *
 * @param {Run} run
 * @param {RunScore} csf
 * @param {Iterable<number>} sets
 */
export function failuresOf(run, csf, sets) {
  const wanted = new Set(sets);
  /** @type {number[]} */
  const found = [];
  for (let i = 0; i < run.points.count; i++) {
    if (wanted.has(run.points.set[i]) && isWrong(run, csf, i)) found.push(i);
  }
  return found.sort((a, b) => csf.confidence[b] - csf.confidence[a] || a - b);
}
