// What the colours and shapes of the map mean: one scheme for each question to the data.

import { outcome } from "./counts.js";
import { CIVIDIS, hexToRgb, OUTCOMES, PALETTE, ramp, SHAPES, theme } from "./look.js";
import { number } from "./numbers.js";

const grey = () => OUTCOMES[0][theme()];

/** Categories of the codes; where there are too many for the palette, those of `first`, then the frequent ones. */
function categorical(names, codes, first = new Set(), sizes = null) {
  const colours = PALETTE[theme()];
  const counts = new Uint32Array(names.length);
  codes.forEach((c) => counts[c]++);
  const few = names.length <= 8;
  const order = [...counts.keys()].sort((a, b) => (few ? a - b : first.has(b) - first.has(a) || counts[b] - counts[a]));
  const place = new Uint8Array(names.length);
  order.forEach((name, rank) => { place[name] = few ? rank : Math.min(rank, 7); });
  const categories = order.slice(0, few ? 8 : 7).map((name, rank) => (
    { name: names[name], colour: colours[rank], shape: SHAPES[rank], size: sizes?.[name] ?? 1, tier: 0 }));
  if (!few) categories.push({ name: `${number(names.length - 7)} others`, colour: grey(), shape: "circle", size: 0.8, tier: 0 });
  return { categories, code: Uint8Array.from(codes, (c) => place[c]) };
}

/** Correct, the six commonest ways to be wrong among the shown cases, and all other ways. */
function confusions(run, csf) {
  const C = run.classes.length;
  const pair = (i) => (csf.prediction[i] === run.points.label[i] ? -1 : run.points.label[i] * C + csf.prediction[i]);
  const counts = new Map();
  for (let i = 0; i < run.points.count; i++) counts.set(pair(i), (counts.get(pair(i)) || 0) + 1);
  counts.delete(-1);
  const common = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a)).slice(0, 6);
  const place = new Map([[-1, 0], ...common.map((p, k) => [p, k + 1])]);
  const colours = PALETTE[theme()];
  const categories = [{ name: "correct", colour: grey(), shape: "circle", size: 0.8, tier: 0 },
    ...common.map((p, k) => ({ name: `${run.classes[Math.floor(p / C)]}, called ${run.classes[p % C]}`, colour: colours[k], shape: SHAPES[k + 1], size: 1.4, tier: 1 })),
    { name: "other mistakes", colour: colours[6], shape: "down", size: 1.2, tier: 1 }];
  return { categories, code: Uint8Array.from({ length: run.points.count }, (_, i) => place.get(pair(i)) ?? categories.length - 1) };
}

export const SCHEMES = {
  outcome: ["Trusted or not (score's confusion)", (run, csf, step) => ({
    categories: OUTCOMES.map((o, i) => ({ ...o, colour: o[theme()], tier: [0, 1, 2, 3][i] })),
    code: Uint8Array.from({ length: run.points.count }, (_, i) => outcome(run, csf, step, i)),
  })],
  class: ["True class", (run, csf, step, chosen) => categorical(run.classes, run.points.label, chosen)],
  domain: ["Domain (source, target, disturbed)", (run) => {
    const names = [...new Set(run.sets.map((set) => set.domain))];
    const of = run.sets.map((set) => names.indexOf(set.domain));
    return categorical(names, run.points.set.map((s) => of[s]));
  }],
  classifier: ["Classifier's confusion", (run, csf) => {
    const C = run.classes.length;
    if (C > 2) return confusions(run, csf);
    const names = run.classes.flatMap((is) => run.classes.map((called) => (is === called ? `${is}, correct` : `${is}, called ${called}`)));
    return categorical(names, Array.from(csf.prediction, (p, i) => run.points.label[i] * C + p), new Set(), names.map((_, i) => (i % (C + 1) ? 1.4 : 0.8)));
  }],
  confidence: ["Confidence", (run, csf) => {
    const wrong = (i) => csf.prediction[i] !== run.points.label[i];
    const level = (i) => Math.floor((Math.min(csf.step[i], 101) - 1) / 10);
    const text = (k) => (k === 10 ? "below all ordinary cases" : `surest ${k * 10 + 1}–${k * 10 + 10} %`);
    const categories = Array.from({ length: 22 }, (_, c) => ({
      name: text(c % 11) + (c > 10 ? ", wrong" : ""), colour: null, rgb: ramp(CIVIDIS, 1 - (c % 11) / 10),
      shape: c > 10 ? "cross" : "circle", size: c > 10 ? 1.6 : 0.9, tier: c > 10 ? 1 : 0 }));
    return { categories, code: Uint8Array.from({ length: run.points.count }, (_, i) => level(i) + (wrong(i) ? 11 : 0)) };
  }],
};

/** Categories (name, rgb, shape, size, tier, count) and the code of every point for the chosen question. */
export function schemeOf(mode, run, csf, step, chosen) {
  const { categories, code } = SCHEMES[mode][1](run, csf, step, chosen);
  for (const c of categories) {
    c.rgb = c.rgb || hexToRgb(c.colour);
    c.colour = c.colour || `rgb(${c.rgb.join(",")})`;
    c.count = 0;
  }
  code.forEach((c) => categories[c].count++);
  return { categories, code };
}
