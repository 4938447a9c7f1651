import assert from "node:assert/strict";
import test from "node:test";

import { inside } from "../../../monai_sf/report/scripts/selection.js";

test("a box holds what lies between its corners", () => {
  const box = [[10, 30, 30, 10], [5, 5, 25, 25]];
  for (const [x, y] of [[20, 15], [11, 6], [29, 24]]) assert.ok(inside(x, y, ...box));
  for (const [x, y] of [[9, 15], [31, 15], [20, 4], [20, 26], [40, 40]]) assert.ok(!inside(x, y, ...box));
  // in whichever direction it was drawn
  assert.ok(inside(20, 15, [30, 10, 10, 30], [25, 25, 5, 5]));
});

test("a lasso with a bay leaves the bay out", () => {
  const u = [[0, 30, 30, 20, 20, 10, 10, 0], [0, 0, 30, 30, 10, 10, 30, 30]];
  assert.ok(inside(5, 20, ...u) && inside(25, 20, ...u) && inside(15, 5, ...u));
  assert.ok(!inside(15, 20, ...u));
});

test("what a lasso goes around twice is outside, by the rule of crossings", () => {
  const twice = [[0, 30, 30, 0, 0, 20, 20, 0], [0, 0, 30, 30, 0, 0, 20, 20]];
  assert.ok(!inside(10, 10, ...twice));
  assert.ok(inside(25, 25, ...twice));
});

test("a point and a line hold nothing", () => {
  assert.ok(!inside(1, 1, [], []));
  assert.ok(!inside(1, 1, [1], [1]));
  assert.ok(!inside(1, 1, [0, 2], [0, 2]));
});
