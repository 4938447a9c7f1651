// What the colours and shapes of the map mean: one scheme per question about the data.

import { isWrong, outcome } from "./counts.js";
import { CIVIDIS, hexToRgb, OUTCOMES, PALETTE, ramp, SHAPES, theme } from "./look.js";
import { number } from "./numbers.js";

/**
 * @import { Rgb, Shape } from "./look.js"
 * @import { Run, RunScore } from "./payload.js"
 */

/**
 * @typedef {object} Category
 * @property {string} name
 * @property {Rgb} rgb
 * @property {Shape} shape
 * @property {number} size
 * @property {number} tier A higher tier is painted above all lower ones.
 *
 * @typedef {{ categories: Category[], code: Uint8Array }} Scheme The code of every sampled case is its category.
 */

const grey = () => hexToRgb(OUTCOMES[0][theme()]);

/**
 * Return the categories of the codes. If the palette has too few colours, those of `first` get one, then the most frequent ones.
 *
 * @param {string[]} names
 * @param {number[] | Uint16Array} codes
 * @param {Set<number>} [first]
 * @param {number[]} [sizes] By name.
 * @returns {Scheme}
 */
function categorical(names, codes, first = new Set(), sizes = []) {
  const colours = PALETTE[theme()].map(hexToRgb);
  const counts = new Uint32Array(names.length);
  codes.forEach((c) => counts[c]++);
  const few = names.length <= 8;
  const order = [...counts.keys()].sort((a, b) => (few ? a - b : Number(first.has(b)) - Number(first.has(a)) || counts[b] - counts[a]));
  const place = new Uint8Array(names.length);
  order.forEach((name, rank) => { place[name] = few ? rank : Math.min(rank, 7); });
  /** @type {Category[]} */
  const categories = order.slice(0, few ? 8 : 7).map((name, rank) => (
    { name: names[name], rgb: colours[rank], shape: SHAPES[rank], size: sizes[name] ?? 1, tier: 0 }));
  if (!few) categories.push({ name: `${number(names.length - 7)} others`, rgb: grey(), shape: "circle", size: 0.8, tier: 0 });
  return { categories, code: Uint8Array.from(codes, (c) => place[c]) };
}

/**
 * Return a scheme of the correct cases, the six most frequent confusions among the shown cases, and all others.
 *
 * @param {Run} run
 * @param {RunScore} csf
 * @returns {Scheme}
 */
function confusions(run, csf) {
  const C = run.classes.length;
  /** @param {number} i */
  const pair = (i) => (csf.prediction[i] === run.points.label[i] ? -1 : run.points.label[i] * C + csf.prediction[i]);
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (let i = 0; i < run.points.count; i++) counts.set(pair(i), (counts.get(pair(i)) || 0) + 1);
  counts.delete(-1);
  const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([p]) => p);
  const place = new Map([-1, ...common].map((p, k) => [p, k]));
  const colours = PALETTE[theme()].map(hexToRgb);
  /** @type {Category[]} */
  const categories = [{ name: "correct", rgb: grey(), shape: "circle", size: 0.8, tier: 0 },
    ...common.map((p, k) => ({ name: `${run.truths[Math.floor(p / C)]}, called ${run.classes[p % C]}`, rgb: colours[k], shape: SHAPES[k + 1], size: 1.4, tier: 1 })),
    { name: "other mistakes", rgb: colours[6], shape: "down", size: 1.2, tier: 1 }];
  return { categories, code: Uint8Array.from({ length: run.points.count }, (_, i) => place.get(pair(i)) ?? categories.length - 1) };
}

/** @type {Record<string, [title: string, make: (run: Run, csf: RunScore, step: number, chosen: Set<number>) => Scheme]>} */
export const SCHEMES = {
  outcome: ["Trusted or not (score's confusion)", (run, csf, step) => ({
    categories: OUTCOMES.map((o, tier) => ({ ...o, rgb: hexToRgb(o[theme()]), tier })),
    code: Uint8Array.from({ length: run.points.count }, (_, i) => outcome(run, csf, step, i)),
  })],
  class: ["True class", (run, csf, step, chosen) => categorical(run.truths, run.points.label, chosen)],
  domain: ["Domain (source, target, disturbed)", (run) => {
    const names = [...new Set(run.sets.map((set) => set.domain))];
    const of = run.sets.map((set) => names.indexOf(set.domain));
    return categorical(names, Array.from(run.points.set, (s) => of[s]));
  }],
  classifier: ["Classifier's confusion", (run, csf) => {
    const C = run.classes.length;
    if (C > 2) return confusions(run, csf);
    const pairs = run.truths.flatMap((is, k) => run.classes.map((called, c) => (k === c ? { name: `${is}, correct`, size: 0.8 } : { name: `${is}, called ${called}`, size: 1.4 })));
    return categorical(pairs.map(({ name }) => name), Array.from(csf.prediction, (p, i) => run.points.label[i] * C + p), new Set(), pairs.map(({ size }) => size));
  }],
  confidence: ["Confidence", (run, csf) => {
    /** @param {number} i */
    const wrong = (i) => isWrong(run, csf, i);
    /** @param {number} i */
    const level = (i) => Math.floor((Math.min(csf.step[i], 101) - 1) / 10);
    /** @param {number} k */
    const text = (k) => (k === 10 ? "below all ordinary cases" : `surest ${k * 10 + 1}–${k * 10 + 10} %`);
    /** @type {Category[]} */
    const categories = Array.from({ length: 22 }, (_, c) => ({
      name: text(c % 11) + (c > 10 ? ", wrong" : ""), rgb: ramp(CIVIDIS, 1 - (c % 11) / 10),
      shape: c > 10 ? "cross" : "circle", size: c > 10 ? 1.6 : 0.9, tier: c > 10 ? 1 : 0 }));
    return { categories, code: Uint8Array.from({ length: run.points.count }, (_, i) => level(i) + (wrong(i) ? 11 : 0)) };
  }],
};

/** Questions that cases without classes do not answer. */
const OF_CLASSES = ["class", "classifier"];

/** Return the questions that a run answers. @param {Run} run */
export const questionsOf = (run) => Object.keys(SCHEMES).filter((key) => run.classes.length || !OF_CLASSES.includes(key));

/**
 * Return the scheme of a question, with the number of shown cases per category.
 *
 * @param {string} question A key of the schemes.
 * @param {Run} run
 * @param {RunScore} csf
 * @param {number} step
 * @param {Set<number>} chosen Classes that are listed first.
 * @param {(i: number) => boolean} isShown
 */
export function schemeOf(question, run, csf, step, chosen, isShown) {
  const { categories, code } = SCHEMES[question][1](run, csf, step, chosen);
  const counts = new Uint32Array(categories.length);
  code.forEach((c, i) => { if (isShown(i)) counts[c]++; });
  return { code, categories: categories.map((c, i) => ({ ...c, colour: `rgb(${c.rgb.join(",")})`, count: counts[i] })) };
}
