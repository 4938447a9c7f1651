// Made-up data of a page, small enough to count by hand: four sampled cases and four test sets per run.

import { PROMISED } from "../../../monai_sf/report/scripts/counts.js";

const judged = (errors, trusted, silent) => ({
  errors,
  trusted: Uint32Array.from({ length: PROMISED }, (_, i) => (i === PROMISED - 1 ? 3 : i < 49 ? trusted - 2 : trusted)),
  silent: Uint32Array.from({ length: PROMISED }, (_, i) => (i === PROMISED - 1 ? 0 : i < 49 ? silent - 1 : silent)),
});

export function run({ study = "iid", method = "confidnet", seed = 0, scores = ["MSR"], promised = [] } = {}) {
  const sets = [["iid", "iid"], ["site", "acquisition"], ["corruption-blur-1", "corruption"], ["corruption-blur-2", "corruption"]];
  return {
    study, method, seed, title: `${method}, seed ${seed}`,
    classes: ["benign", "malignant"],
    sets: sets.map(([name, kind], i) => ({ name, kind, count: 10 * (i + 1) })),
    csfs: scores.map((name) => ({
      name,
      promise: promised.includes(name) ? { threshold: 0.85, needed: null } : null,
      confidence: Float32Array.of(0.9, 0.6, 0.8, 0.9),
      step: Uint8Array.of(10, 80, 81, 255),
      promised: Uint8Array.of(1, 0, 0, 1),
      prediction: Uint16Array.of(1, 0, 0, 1),
      sets: [judged(2, 8, 1), judged(5, 12, 3), judged(6, 20, 2), judged(9, 25, 4)],
    })),
    points: { count: 4, label: Uint16Array.of(0, 0, 1, 0), set: Uint16Array.of(0, 1, 2, 2) },
  };
}

export const data = (...runs) => ({
  runs,
  coverage: 80,
  csfs: { "MSR": { usual: true }, "PE": { usual: true }, "Energy": { usual: false } },
});
