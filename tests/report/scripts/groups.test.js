import assert from "node:assert/strict";
import test from "node:test";

import { gapText, groupName, mostAtRisk, ofHundredEach, ordered } from "../../../monai_sf/report/scripts/groups.js";

const row = (column, group, rate, more = {}) => (
  { column, group, cases: 100, rate: [rate, rate / 2, rate * 2], rest: 0.03, worse: false, tooSmall: false, gap: null, ...more });

test("a group is named with its column", () => {
  const affected = { columns: [{ name: "class", groups: ["benign"] }, { name: "hospital", groups: ["A", "B"] }] };
  assert.equal(groupName(affected, row(1, 1, 0.1)), "hospital B");
});

test("of a column, worse groups come first, then the higher rates, and small groups last", () => {
  const rows = [row(0, 0, 0.02), row(0, 1, 0.5, { tooSmall: true }), row(1, 0, 0.9), row(0, 2, 0.04), row(0, 3, 0.03, { worse: true })];
  assert.deepEqual(ordered(rows, 0).map(({ group }) => group), [3, 2, 0, 1]);
});

test("two shares never look alike where they differ", () => {
  assert.deepEqual(ofHundredEach(0.09, 0.031), ["9", "3"]);
  assert.deepEqual(ofHundredEach(0.034, 0.026), ["3.4", "2.6"]);
  assert.deepEqual(ofHundredEach(0.02, 0.004), ["2.0", "0.4"]);
  assert.deepEqual(ofHundredEach(0.05, 0), ["5", "0"]);
});

test("most at risk is the group that differs most, of the first test set with a marked one", () => {
  const calm = { set: 0, rows: [row(0, 0, 0.9)] };
  const marked = { set: 1, rows: [row(0, 0, 0.2, { worse: true, rest: 0.19 }), row(0, 1, 0.1, { worse: true }), row(0, 2, 0.5)] };
  const worst = { set: 2, rows: [row(0, 3, 0.9, { worse: true })] };
  assert.equal(mostAtRisk([calm]), null);
  assert.deepEqual(mostAtRisk([calm, marked, worst]), { set: marked, row: marked.rows[1] });
});

test("a wider gap in words", () => {
  assert.equal(gapText("hospital B", row(0, 0, 0.1, { gap: [0.12, 0.08, 0.06, 0.01] })),
    "hospital B: 12\u00a0% of all answers are wrong against 8\u00a0% elsewhere, but 6\u00a0% against 1\u00a0% of those the system is sure of.");
  assert.equal(gapText("hospital B", row(0, 0, 0.1)), "");
});
