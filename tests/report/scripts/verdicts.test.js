import assert from "node:assert/strict";
import test from "node:test";

import { interval, wholes } from "../../../monai_sf/report/scripts/numbers.js";
import { axisEnd, headline, inHundred, verdictOf } from "../../../monai_sf/report/scripts/verdicts.js";

const of = (silent, trusted, kind = "iid", effective = trusted) => (
  verdictOf(0.05, { count: 900, errors: 90, trusted, silent }, interval(trusted ? silent / trusted : 0, effective), kind));

test("a promise is kept or broken when the whole interval says so", () => {
  assert.equal(of(5, 400), "kept");
  assert.equal(of(18, 400), "unclear");
  assert.equal(of(24, 400), "unclear");
  assert.equal(of(60, 400), "broken");
});

test("alike cases of few patients show less", () => {
  assert.equal(of(5, 400, "iid", 60), "unclear");
  assert.equal(of(60, 400, "iid", 12), "unclear");
});

test("no error among a few cases does not show that the promise is kept", () => {
  assert.equal(of(0, 60), "unclear");
  assert.equal(of(0, 80), "kept");
});

test("cases of one patient show nothing, and without a sure answer none is wrong", () => {
  assert.equal(of(40, 40, "iid", 0), "unclear");
  assert.equal(of(0, 0), "kept");
  assert.equal(of(0, 0, "new_class"), "kept");
});

test("a single sure answer on a class that it does not know breaks the promise", () => {
  assert.equal(of(1, 1, "new_class", 0), "broken");
});

test("the end of the interval on the target keeps the promise and does not break it", () => {
  const sum = { count: 100, errors: 5, trusted: 100, silent: 5 };
  assert.equal(verdictOf(0.05, sum, [0.01, 0.05], "iid"), "kept");
  assert.equal(verdictOf(0.05, sum, [0.05, 0.2], "iid"), "unclear");
});

test("the headline is the worst verdict, with the cases that have it", () => {
  const [kept, unclear, broken, also] = [["kept", "a"], ["unclear", "b"], ["broken", "c"], ["broken", "d"]].map(([verdict, name]) => ({ verdict, name }));
  assert.deepEqual(headline([kept, unclear, broken, also]), [["kept", "Kept on a,"], ["broken", "broken on c and on d."]]);
  assert.deepEqual(headline([unclear, broken]), [["broken", "Broken on c."]]);
  assert.equal(headline([kept, unclear])[0][0], "unclear");
  assert.match(headline([kept, unclear])[0][1], /on b: too few/);
  assert.deepEqual(headline([kept, kept]), [["kept", "Kept on all cases that were tested."]]);
  assert.deepEqual(headline([kept]), [["kept", "Kept on a."]]);
});

test("the axis shows the target and every interval", () => {
  assert.equal(axisEnd(0.05, []), 0.125);
  assert.ok(axisEnd(0.05, [0.3, NaN]) > 0.3);
  assert.equal(axisEnd(0.05, [0.99]), 1);
  assert.ok(axisEnd(0, [0]) > 0);
});

test("a risk in a hundred has no more digits than it needs", () => {
  assert.deepEqual([0.05, 0.025, 0.1, 0.07].map(inHundred), ["5", "2.5", "10", "7"]);
});

test("a hundred squares are shared by largest remainders", () => {
  assert.deepEqual(wholes([1, 1, 1], 100), [34, 33, 33]);
  assert.deepEqual(wholes([0, 0], 100), [0, 0]);
  assert.deepEqual(wholes([218, 5, 20, 57], 100), [73, 1, 7, 19]);
});
