import assert from "node:assert/strict";
import test from "node:test";

import { ALARM, DETECTED, failuresOf, groupsOf, judgedOn, outcome, outcomeOf, pooled, PROMISED, shareDecided, SILENT, tally, TRUSTED }
  from "../../../monai_sf/report/scripts/counts.js";
import { run } from "./made.js";

test("an outcome is what was said and whether it was trusted", () => {
  assert.deepEqual([outcomeOf(true, true), outcomeOf(true, false), outcomeOf(false, true), outcomeOf(false, false)],
    [SILENT, DETECTED, TRUSTED, ALARM]);
});

test("a case is trusted from its first working point on", () => {
  const made = run();
  const at = (step) => [0, 1, 2, 3].map((i) => outcome(made, made.csfs[0], step, i));
  assert.deepEqual(at(9), [DETECTED, ALARM, DETECTED, DETECTED]);
  assert.deepEqual(at(80), [SILENT, TRUSTED, DETECTED, DETECTED]);
  assert.deepEqual(at(81), [SILENT, TRUSTED, SILENT, DETECTED]);
  assert.deepEqual(at(100), [SILENT, TRUSTED, SILENT, DETECTED]);
  // the promised threshold is none of them
  assert.deepEqual(at(PROMISED), [SILENT, ALARM, DETECTED, SILENT]);
});

test("a tally sums all cases of the test sets at the working point", () => {
  const made = run();
  assert.deepEqual(tally(made.csfs[0], made, [0], 80), { count: 10, errors: 2, trusted: 8, silent: 1 });
  assert.deepEqual(tally(made.csfs[0], made, [2, 3], 80), { count: 70, errors: 15, trusted: 45, silent: 6 });
  assert.deepEqual(tally(made.csfs[0], made, [2, 3], 49), { count: 70, errors: 15, trusted: 41, silent: 4 });
  assert.deepEqual(tally(made.csfs[0], made, [2, 3], 50), { count: 70, errors: 15, trusted: 45, silent: 6 });
  assert.deepEqual(tally(made.csfs[0], made, [2, 3], PROMISED), { count: 70, errors: 15, trusted: 6, silent: 0 });
  assert.equal(shareDecided(made, made.csfs[0], PROMISED), 0.3);
  assert.deepEqual(tally(made.csfs[0], made, [], 50), { count: 0, errors: 0, trusted: 0, silent: 0 });
});

test("several runs are pooled", () => {
  const made = run();
  const [csf] = made.csfs;
  assert.deepEqual(pooled([[made, csf, [0]], [made, csf, [0, 1]]], 100), { count: 40, errors: 9, trusted: 28, silent: 5 });
  assert.deepEqual(pooled([], 100), { count: 0, errors: 0, trusted: 0, silent: 0 });
});

test("test sets are grouped by kind, in their order", () => {
  assert.deepEqual(groupsOf(run()), [["iid", [0]], ["acquisition", [1]], ["corruption", [2, 3]]]);
});

test("failures of test sets come in the order of confidence, then of the sample", () => {
  const made = run();
  assert.deepEqual(failuresOf(made, made.csfs[0], made.sets.keys()), [0, 3, 2]);
  assert.deepEqual(failuresOf(made, made.csfs[0], [2]), [3, 2]);
  assert.deepEqual(failuresOf(made, made.csfs[0], [1]), []);
});

test("unknown classes are judged together with the ordinary cases, all others by themselves", () => {
  const sets = [{ kind: "iid" }, { kind: "corruption" }, { kind: "new_class" }];
  assert.deepEqual([0, 1, 2].map((i) => judgedOn({ sets }, i)), [[0], [1], [2, 0]]);
  assert.deepEqual(judgedOn({ sets: sets.slice(1) }, 1), [1]);
});
