// What became of cases at a working point: one by one, and counted.

/** Failure detection outcome of a sampled case; "positive" means that the score says failure. */
export const TRUSTED = 0;
export const ALARM = 1;
export const DETECTED = 2;
export const SILENT = 3;

export function outcome(run, csf, step, i) {
  const wrong = csf.prediction[i] !== run.points.label[i];
  const trusted = csf.step[i] <= step;
  return wrong ? (trusted ? SILENT : DETECTED) : (trusted ? TRUSTED : ALARM);
}

/** Where the list of effective sizes has that of all cases, trusted or not. */
export const ALL_CASES = 100;

/** Counts of a group of test sets (indices) at a working point, over all cases, not the sample. */
export function tally(csf, run, sets, step) {
  const sum = { count: 0, errors: 0, trusted: 0, silent: 0 };
  for (const i of sets) {
    sum.count += run.sets[i].count;
    sum.errors += csf.sets[i].errors;
    sum.trusted += csf.sets[i].trusted[step - 1];
    sum.silent += csf.sets[i].silent[step - 1];
  }
  return sum;
}

/** Test sets of a run by kind, in the order of the page: [kind, indices][]. */
export function groupsOf(run) {
  const kinds = new Map();
  run.sets.forEach((set, i) => kinds.set(set.kind, [...(kinds.get(set.kind) || []), i]));
  return [...kinds];
}

/** Sum of the counts of several runs. */
export function pooled(parts, step) {
  const sum = { count: 0, errors: 0, trusted: 0, silent: 0 };
  for (const [run, csf, sets] of parts) {
    const part = tally(csf, run, sets, step);
    for (const key of Object.keys(sum)) sum[key] += part[key];
  }
  return sum;
}

/** Sampled failures of some test sets, the most confident first. */
export function failuresOf(run, csf, sets) {
  const wanted = new Set(sets);
  const found = [];
  for (let i = 0; i < run.points.count; i++) {
    if (wanted.has(run.points.set[i]) && csf.prediction[i] !== run.points.label[i]) found.push(i);
  }
  return found.sort((a, b) => csf.confidence[b] - csf.confidence[a] || a - b);
}
