// Numbers as text, and the interval around a share.

/** @typedef {[number, number]} Range Low and high; NaN where there is no interval. */

/** @param {number} value */
export const number = (value) => value.toLocaleString("en-US");

/** @param {number | null} value @param {number} [digits] */
export function percent(value, digits = 1) {
  return value === null || Number.isNaN(value) ? "–" : `${(100 * value).toFixed(digits)}\u00a0%`;
}

/** @param {number} v @param {number} [digits] */
export const hundredfold = (v, digits = 2) => (100 * v).toFixed(digits);

/** Return an interval in words; cases of a single patient have none. @param {Range} range @param {number} [digits] */
export const rangeText = ([low, high], digits = 1) => (
  Number.isNaN(low) ? "no interval" : `95 % interval ${percent(low, digits)} to ${percent(high, digits)}`);

/** @param {Range} range */
export const ends = ([low, high]) => (Number.isNaN(low) ? "no interval" : `${percent(low)} – ${percent(high)}`);

/** Return an interval of shares, in per cent and parentheses, to follow its estimate. @param {Range | null} range */
export const bounds = (range) => (range ? ` (${range.map((v) => hundredfold(v)).join(" – ")})` : "");

/**
 * Return Wilson's 95 % interval for a share p of n independent cases; NaN without cases.
 *
 * @param {number} p
 * @param {number} n
 * @returns {Range}
 */
export function interval(p, n) {
  if (!n) return [NaN, NaN];
  const z = 1.959963984540054;
  const middle = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
}

/**
 * Return how many of 100 trusted cases are silent failures, and the verb that agrees with it.
 *
 * @param {number} silent
 * @param {number} trusted
 */
export function ofHundred(silent, trusted) {
  const share = (100 * silent) / trusted;
  if (silent === 0) return { digits: "0", verb: "were" };
  if (share < 0.5) return { digits: "< 1", verb: "was" };
  const many = Math.round(share);
  return { digits: String(many), verb: many === 1 ? "was" : "were" };
}

/**
 * Return whole numbers in proportion to the values that sum to `total`, by largest remainders.
 *
 * @param {number[]} values Not negative.
 * @param {number} total
 */
export function wholes(values, total) {
  const sum = values.reduce((a, b) => a + b, 0);
  if (!sum) return values.map(() => 0);
  const exact = values.map((v) => (total * v) / sum);
  const floors = exact.map(Math.floor);
  const left = total - floors.reduce((a, b) => a + b, 0);
  const order = [...exact.keys()].sort((a, b) => (exact[b] - floors[b]) - (exact[a] - floors[a]) || a - b);
  for (const i of order.slice(0, left)) floors[i] += 1;
  return floors;
}

/** Return exp(value) in per cent, with as many nines as needed to tell it from 100 %. @param {number} logarithm */
export function precisePercent(logarithm) {
  const doubt = -100 * Math.expm1(logarithm);
  if (doubt <= 0 || doubt < 1e-9) return "100\u00a0%";
  const digits = Math.min(Math.max(1, Math.ceil(-Math.log10(doubt)) + 1), 10);
  return `${(100 - doubt).toFixed(doubt > 1 ? 1 : digits)}\u00a0%`;
}

/** @param {string[]} names */
export const listed = (names) => [names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" and on ");
