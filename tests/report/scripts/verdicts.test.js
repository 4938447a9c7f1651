import assert from "node:assert/strict";
import test from "node:test";

import { PROMISED, riskOf } from "../../../monai_sf/report/scripts/counts.js";
import { interval, wholes } from "../../../monai_sf/report/scripts/numbers.js";
import { axisEnd, headline, inHundred, verdictOf } from "../../../monai_sf/report/scripts/verdicts.js";

const risk = (range, few = false) => ({ rate: 0.05, range, few });
const of = (silent, trusted, kind = "iid", effective = trusted, few = false) => (
  verdictOf(0.05, { count: 900, errors: 90, trusted, silent }, risk(interval(trusted ? silent / trusted : 0, effective), few), kind));

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

test("cases of one patient show nothing, and without a sure answer there is nothing to keep", () => {
  assert.equal(of(40, 40, "iid", 0), "unclear");
  assert.equal(of(0, 0), "none");
  assert.equal(of(0, 0, "new_class"), "none");
});

test("few patients show nothing, whatever their cases say", () => {
  assert.equal(of(5, 400, "iid", 400, true), "few");
  assert.equal(of(60, 400, "iid", 400, true), "few");
  assert.equal(of(0, 0, "iid", 0, true), "none");
});

test("the verdict is on patients at the promised threshold, and elsewhere the risk is that of cases", () => {
  const sum = { count: 900, errors: 90, trusted: 400, silent: 40 };
  const effective = Float32Array.from({ length: 102 }, () => 400);
  const found = { seen: { rate: 0.02, low: 0.01, high: 0.03, few: false }, effective };
  assert.deepEqual(riskOf(sum, PROMISED, found), { rate: 0.02, range: [0.01, 0.03], few: false });
  assert.equal(verdictOf(0.05, sum, riskOf(sum, PROMISED, found), "iid"), "kept");
  assert.deepEqual(riskOf(sum, 80, found), { rate: 0.1, range: interval(0.1, 400), few: false });
  const alone = riskOf(sum, PROMISED, { seen: { rate: 0.02, low: null, high: null, few: true }, effective });
  assert.deepEqual(alone.range, [NaN, NaN]);
  assert.equal(riskOf({ ...sum, trusted: 0, silent: 0 }, PROMISED, { seen: null, effective: new Float32Array(102) }).rate, 0);
});

test("a single sure answer on a class that it does not know breaks the promise", () => {
  assert.equal(of(1, 1, "new_class", 0), "broken");
});

test("the end of the interval on the target keeps the promise and does not break it", () => {
  const sum = { count: 100, errors: 5, trusted: 100, silent: 5 };
  assert.equal(verdictOf(0.05, sum, risk([0.01, 0.05]), "iid"), "kept");
  assert.equal(verdictOf(0.05, sum, risk([0.05, 0.2]), "iid"), "unclear");
});

test("the headline names every verdict, with the cases that have it", () => {
  const [kept, unclear, broken, also, few, none, nothing] = [["kept", "a"], ["unclear", "b"], ["broken", "c"], ["broken", "d"], ["few", "e"], ["none", "f"], ["unpromised", "g"]]
    .map(([verdict, name]) => ({ verdict, name }));
  /** @param {{ verdict: string, name: string }[]} groups */
  const said = (...groups) => headline(groups).map(([, text]) => text).join(" ");
  assert.deepEqual(headline([kept, unclear, broken, also]),
    [["kept", "Kept on a,"], ["broken", "broken on c and on d,"], ["unclear", "not shown to be kept on b (too close to tell)."]]);
  assert.equal(said(unclear, broken), "Broken on c, not shown to be kept on b (too close to tell).");
  assert.equal(said(kept, nothing), "Kept on a, nothing promised on g.");
  assert.equal(said(none, kept), "Kept on a, sure of no case on f.");
  assert.equal(said(none), "Sure of no case on f.");
  assert.equal(said(few, unclear), "Not shown to be kept on b (too close to tell), not shown to be kept on e (too few patients).");
  assert.deepEqual(headline([kept, kept]), [["kept", "Kept on all cases that were tested."]]);
  assert.deepEqual(headline([kept]), [["kept", "Kept on a."]]);
  const all = [kept, unclear, broken, also, few, none, nothing];
  for (const { name } of all) assert.match(said(...all), new RegExp(`on ${name}\\b`));
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
