import assert from "node:assert/strict";
import test from "node:test";

import { bounds, ends, hundredfold, interval, listed, number, ofHundred, percent, precisePercent, rangeText }
  from "../../../monai_sf/report/scripts/numbers.js";

/** @param {number[]} actual @param {number[]} expected */
function near(actual, expected, tolerance = 5e-5) {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < tolerance, `${actual} is not ${expected}`));
}

test("Wilson's interval is that of the textbook", () => {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3
  near(interval(81 / 263, 263), [0.2553, 0.3662]);
  near(interval(15 / 148, 148), [0.0624, 0.1605]);
  near(interval(0 / 20, 20), [0, 0.1611]);
  near(interval(1 / 29, 29), [0.0061, 0.1718]);
  near(interval(29 / 29, 29), [0.8830, 1]);
});

test("Wilson's interval stays within 0 and 1 and is wider for fewer cases", () => {
  for (const p of [0, 0.01, 0.5, 0.99, 1]) {
    const [few, many] = [interval(p, 7.5), interval(p, 750)];
    assert.ok(few[0] >= 0 && few[0] <= many[0] && many[0] <= p);
    assert.ok(p <= many[1] && many[1] <= few[1] && few[1] <= 1);
  }
});

test("without independent cases there is no interval", () => {
  assert.deepEqual(interval(0.5, 0), [NaN, NaN]);
  assert.deepEqual(interval(NaN, 0), [NaN, NaN]);
  assert.equal(rangeText([NaN, NaN]), "no interval");
  assert.equal(ends([NaN, NaN]), "no interval");
  assert.equal(bounds(null), "");
});

test("intervals as text", () => {
  assert.equal(rangeText([0.0123, 0.4]), "95 % interval 1.2\u00a0% to 40.0\u00a0%");
  assert.equal(rangeText([0.0123, 0.4], 0), "95 % interval 1\u00a0% to 40\u00a0%");
  assert.equal(ends([0.0123, 0.4]), "1.2\u00a0% – 40.0\u00a0%");
  assert.equal(bounds([0.01234, 0.4]), " (1.23 – 40.00)");
});

test("shares and counts as text", () => {
  assert.equal(percent(0.12345), "12.3\u00a0%");
  assert.equal(percent(0.12345, 0), "12\u00a0%");
  assert.equal(percent(null), "–");
  assert.equal(percent(0 / 0), "–");
  assert.equal(hundredfold(0.12345), "12.35");
  assert.equal(number(1234567), "1,234,567");
  assert.deepEqual([[], ["a"], ["a", "b"], ["a", "b", "c"]].map(listed), ["", "a", "a and on b", "a, b and on c"]);
});

test("how many of a hundred, with the verb that belongs to it", () => {
  const told = (silent, trusted) => Object.values(ofHundred(silent, trusted));
  assert.deepEqual(told(0, 50), ["0", "were"]);
  assert.deepEqual(told(0, 0), ["0", "were"]);
  assert.deepEqual(told(1, 1000), ["< 1", "was"]);
  assert.deepEqual(told(5, 1000), ["1", "was"]);
  assert.deepEqual(told(14, 1000), ["1", "was"]);
  assert.deepEqual(told(15, 1000), ["2", "were"]);
  assert.deepEqual(told(50, 50), ["100", "were"]);
});

test("a confidence near 1 has as many nines as tell it from 1", () => {
  assert.equal(precisePercent(0), "100\u00a0%");
  assert.equal(precisePercent(Math.log(0.5)), "50.0\u00a0%");
  assert.equal(precisePercent(Math.log1p(-0.001)), "99.90\u00a0%");
  assert.equal(precisePercent(Math.log1p(-0.0000123)), "99.9988\u00a0%");
});
