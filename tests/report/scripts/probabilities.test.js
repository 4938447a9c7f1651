import assert from "node:assert/strict";
import test from "node:test";

import { averages, inWords } from "../../../monai_sf/report/scripts/probabilities.js";

test("averages over bins are those over the cases", () => {
  const bins = [[0.6, 0.5, 10], [0.9, 1, 30]];
  const [sure, right] = averages(bins);
  assert.ok(Math.abs(sure - (6 + 27) / 40) < 1e-12);
  assert.ok(Math.abs(right - (5 + 30) / 40) < 1e-12);
  assert.equal(inWords({ bins, cases: 40 }),
    "On average over 40 cases the classifier is 82.5\u00a0% sure, and right in 87.5\u00a0%.");
  assert.match(inWords({ bins: [[0.6, 1, 1]], cases: 1 }), /over 1 case the/);
});
