import assert from "node:assert/strict";
import test from "node:test";

import { PROMISED } from "../../../monai_sf/report/scripts/counts.js";
import { State } from "../../../monai_sf/report/scripts/state.js";
import { data, run } from "./made.js";

const STUDIES = data(
  run({ scores: ["MSR", "PE"] }),
  run({ seed: 1, scores: ["MSR", "PE"] }),
  run({ method: "devries", scores: ["Energy"] }),
  run({ method: "devries", seed: 1, scores: ["Energy"] }),
  run({ study: "texture", seed: 1, scores: ["MSR"] }),
);

test("a run is found by study, then score, then seed, then method", () => {
  const state = new State(STUDIES);
  assert.equal(state.findRun("iid", "MSR", 0), 0);
  assert.equal(state.findRun("iid", "PE", 1), 1);
  assert.equal(state.findRun("iid", "Energy", 1), 3);
  assert.equal(state.findRun("iid", "Energy", 7), 2);
  assert.equal(state.findRun("texture", "Energy", 0), 4);
  assert.equal(state.findRun("iid", "no such score", 0), 0);
  state.goTo(2);
  assert.equal(state.findRun("iid", "no such score", 0), 2);
});

test("only those who watch what changed are told, and only of changes", () => {
  const state = new State(STUDIES);
  const told = [];
  state.watch(["step"], () => told.push("step"));
  state.watch(["csf", "step"], () => told.push("both"));
  assert.deepEqual(told.splice(0), ["step", "both"]);
  state.set({ step: 80 });
  assert.deepEqual(told.splice(0), []);
  state.set({ csf: "PE" });
  assert.deepEqual(told.splice(0), ["both"]);
  state.set({ step: 5, csf: "MSR" });
  assert.deepEqual(told.splice(0), ["step", "both"]);
});

test("another run keeps the score and the test set where it has them", () => {
  const state = new State(STUDIES);
  state.set({ csf: "PE", curveSet: 2, pinned: [1] });
  state.goTo(1);
  assert.deepEqual([state.run, state.csf, state.curveSet, state.pinned], [1, "PE", 2, []]);
  state.goTo(4);
  assert.equal(state.csf, "MSR");
});

test("the usual scores and the chosen one are offered, the others on request", () => {
  const state = new State(data(run({ scores: ["MSR", "Energy"] })));
  const offered = () => state.offered.map(({ name }) => name);
  assert.deepEqual(offered(), ["MSR"]);
  state.offerMore(true);
  state.set({ csf: "Energy" });
  assert.deepEqual(offered(), ["MSR", "Energy"]);
  state.offerMore(false);
  assert.deepEqual([state.csf, ...offered()], ["MSR", "MSR"]);
});

test("a run without a usual score offers the one that it has", () => {
  const state = new State(data(run({ scores: ["Energy"] })));
  assert.deepEqual(state.offered.map(({ name }) => name), ["Energy"]);
  state.offerMore(true);
  state.offerMore(false);
  assert.equal(state.csf, "Energy");
});

test("the promised threshold is the working point until the reader chooses one", () => {
  const state = new State(data(run({ scores: ["MSR", "PE"], promised: ["MSR"] })));
  const told = [];
  state.watch(["step"], () => told.push(state.step));
  state.set({ csf: "PE" });
  state.set({ csf: "MSR" });
  state.set({ step: 60 });
  state.set({ csf: "PE" });
  state.set({ csf: "MSR" });
  state.set({ step: PROMISED });
  assert.deepEqual(told, [PROMISED, 80, PROMISED, 60, PROMISED]);
});
