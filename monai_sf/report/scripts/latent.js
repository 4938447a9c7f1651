// The map of the latent space with its legend, filters and pinned cases.

import { Camera } from "./camera.js";
import { caseCard, mapButton } from "./cards.js";
import { failuresOf, groupsOf, isTrusted } from "./counts.js";
import { byId, el, fill } from "./elements.js";
import { css, hexToRgb, shapeIcon } from "./look.js";
import { number } from "./numbers.js";
import { modelOf } from "./plots.js";
import { questionsOf, schemeOf, SCHEMES } from "./schemes.js";
import { Canvas3D } from "./splats.js";

/**
 * @import { Model } from "./plots.js"
 * @import { Cloud } from "./splats.js"
 * @import { Page } from "./state.js"
 *
 * @typedef {Cloud & { xyz: Float32Array, has: Uint8Array }} Places Three coordinates per point, and whether the point has a place.
 *
 * @typedef {object} Selecting Handlers of a pointer that selects; positions are in pixels of the stage.
 * @property {(x: number, y: number) => void} begin
 * @property {(x: number, y: number) => void} move
 * @property {() => void} end
 *
 * @typedef {ReturnType<typeof latentMap>} LatentMap
 */

/** The value of "Show" with which the map opens if there are corrupted images: thousands of these hide the pattern of the others. */
const UNDISTURBED = "undisturbed";
const FIELD = 1.6, MISSING = -32768, MAX_PINS = 4, MANY = 15000, SOME = 5000, INKED = 0.022;
/** Width and height that a card needs beside the map, in rem. */
const CARD = [11.8, 29];

/** @param {Page} page @param {Model} plot */
export function latentMap(page, plot) {
  const { state } = page;
  const doc = plot.document;
  const marks = modelOf(doc, "marks");
  // not an image glyph of the plotting library, which copies every pixel twice and repaints the whole plot for every frame
  const screen = byId("latent-cloud", HTMLCanvasElement);
  const brush = /** @type {CanvasRenderingContext2D} */ (screen.getContext("2d", { alpha: false }));
  const camera = new Camera();
  const canvas = new Canvas3D();
  const stage = byId("latent-stage");
  const controls = { mode: byId("latent-colour", HTMLSelectElement), show: byId("latent-show", HTMLSelectElement),
    size: byId("latent-size", HTMLInputElement), opacity: byId("latent-opacity", HTMLInputElement) };
  /** @type {Map<string, Set<number>>} Hidden categories by question. */
  const hidden = new Map();
  /** @type {Set<number>} */
  const classes = new Set();
  let pixels = new ImageData(1, 1), ratio = 0, pending = false, settle = 0;
  /** @type {Places | null} */
  let cloud = null;
  /** @type {ReturnType<typeof schemeOf>} */
  let scheme = { categories: [], code: new Uint8Array(0) };

  const load = () => {
    const { points } = state.currentRun;
    const packed = points.xyz;
    if (!packed) { cloud = null; return; }
    const xyz = Float32Array.from(packed, (v) => (v / 32767) * FIELD);
    const has = Uint8Array.from({ length: points.count }, (_, i) => Number(packed[3 * i] !== MISSING));
    const floats = () => new Float32Array(points.count);
    cloud = { xyz, has, count: points.count, x: floats(), y: floats(), depth: floats(), shown: new Uint8Array(points.count), code: new Uint8Array(points.count) };
    camera.reset();
  };

  /** Return whether each test set is shown. */
  const chosenSets = () => {
    const show = controls.show.value;
    return state.currentRun.sets.map((set, i) => ["all", set.kind, `set-${i}`].includes(show) || (show === UNDISTURBED && set.corruption === null));
  };

  const filter = () => {
    if (!cloud) return;
    const off = hidden.get(controls.mode.value) || new Set();
    const { points } = state.currentRun;
    const chosen = chosenSets();
    for (let i = 0; i < cloud.count; i++) {
      cloud.shown[i] = Number(cloud.has[i] && chosen[points.set[i]] && !off.has(cloud.code[i]) && (!classes.size || classes.has(points.label[i])));
    }
  };

  /**
   * Return the picture's pixels per pixel of the page: as many as the screen has, fewer while many points move.
   *
   * @param {boolean} fine
   * @param {number} count
   */
  const density = (fine, count) => (fine ? Math.min(window.devicePixelRatio || 1, 2) : count > MANY ? 0.65 : count > SOME ? 0.8 : 1);

  /** @param {number} wanted The picture's pixels per pixel of the page. */
  const size = (wanted) => {
    const box = stage.getBoundingClientRect();
    const [width, height] = [Math.max(Math.round(box.width * wanted), 1), Math.max(Math.round(box.height * wanted), 1)];
    if (canvas.width === width && canvas.height === height) return;
    ratio = wanted;
    canvas.resize(width, height);
    Object.assign(screen, { width, height });
    pixels = new ImageData(new Uint8ClampedArray(canvas.words.buffer), width, height);
  };

  const frame = () => {
    const half = 0.55 / camera.home;
    const corner = Float32Array.from([0, 1, 2, 3, 4, 5, 6, 7].flatMap((c) => [c & 1, (c >> 1) & 1, c >> 2].map((v) => (2 * v - 1) * half)));
    const [x, y, z] = [0, 1, 2].map(() => new Float32Array(8));
    camera.project(corner, 8, canvas.width, canvas.height, x, y, z);
    const ink = hexToRgb(css("--frame"));
    for (let a = 0; a < 8; a++) {
      for (const bit of [1, 2, 4]) if (!(a & bit)) canvas.line(x[a], y[a], x[a | bit], y[a | bit], ink, z[a] + z[a | bit] > 0 ? 90 : 200);
    }
  };

  /** @param {boolean} fine */
  const draw = (fine) => {
    pending = false;
    if (!cloud) return;
    const { xyz, has, count, x, y, depth } = cloud;
    size(density(fine, count));
    const project = () => camera.project(xyz, count, canvas.width, canvas.height, x, y, depth);
    project();
    if (!camera.fitted) {
      camera.fit(x, y, has, canvas.width, canvas.height);
      project();
    }
    canvas.clear(hexToRgb(css("--stage")));
    frame();
    // all marks together cover the same share of the picture, whatever their number
    const side = Math.min(canvas.width, canvas.height) / ratio;
    const even = Math.min(Math.max(side * Math.sqrt(INKED / count), 1.5), 5.5);
    const closer = Math.min(Math.max(Math.pow(camera.zoom / camera.home, 0.4), 0.6), 2.5);
    const radius = even * ratio * Number(controls.size.value) * closer;
    canvas.paint(cloud, scheme.categories, radius, Number(controls.opacity.value));
    brush.putImageData(pixels, 0, 0);
    const placed = state.pinned.filter((i) => has[i]);
    if (placed.length || marks.data.x.length) marks.data = {
      x: placed.map((i) => x[i] / canvas.width), y: placed.map((i) => 1 - y[i] / canvas.height),
      size: placed.map(() => 24), color: placed.map(() => css("--ink")), text: placed.map((i) => String(state.pinned.indexOf(i) + 1)),
    };
    stage.dataset.frames = String(Number(stage.dataset.frames || 0) + 1);
  };

  /** Draw in the next frame: coarsely while the map moves, finely once it rests. */
  const redraw = (moving = false) => {
    clearTimeout(settle);
    if (moving) settle = setTimeout(() => redraw(), 160);
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => draw(!moving));
  };

  const legend = () => {
    const mode = controls.mode.value;
    const off = hidden.get(mode) ?? new Set();
    hidden.set(mode, off);
    fill("latent-legend", scheme.categories.map((c, code) => (c.count ? el("button", {
      type: "button", class: "chip", "aria-pressed": String(!off.has(code)), title: "click to hide or show",
      onclick: () => { if (!off.delete(code)) off.add(code); filter(); legend(); surest(); redraw(); },
    }, shapeIcon(c.shape, c.colour), c.name, el("span", { class: "quiet" }, ` ${number(c.count)}`)) : null)));
  };

  const recolour = () => {
    if (!cloud) return;
    const chosen = chosenSets();
    scheme = schemeOf(controls.mode.value, state.currentRun, state.currentCsf, state.step, classes, (i) => chosen[state.currentRun.points.set[i]]);
    cloud.code = scheme.code;
    filter();
    legend();
    surest();
    redraw();
  };

  const describe = () => {
    const { points, notes } = state.currentRun;
    const place = cloud ? cloud.has.reduce((a, b) => a + b, 0) : 0;
    byId("latent-part").hidden = !cloud;
    fill("latent-text", cloud
      ? [`Every mark is one image; images that the ${state.currentRun.classes.length ? "classifier" : "model"} sees as alike lie close together. Distances between far clusters mean little. `,
        controls.show.options[0].value === UNDISTURBED ? "The map opens without the disturbed images, which would hide the others: choose them under “Show”. " : "", el("span", { class: "quiet" }, `${number(points.count)} of ${number(points.total)} images are `
        + `shown one by one: ${points.parts.map(([name, shown, total]) => `${number(shown)} of ${number(total)} ${name}`).join(", ")}.`
        + `${points.images < points.count ? ` ${number(points.images)} of them have a picture${points.images ? ": wrong answers first, the others spread evenly" : ""}.` : ""}`
        + `${place < points.count ? ` ${number(place)} of them have a place on the map.` : ""}`)]
      : notes.filter(({ about }) => about === "map").map(({ text }) => text).join(" ") || "There is no map of the latent space for this run.");
  };

  const pins = () => {
    fill("latent-pins", state.pinned.length
      ? state.pinned.map((i, k) => caseCard(page, i, { mark: k + 1, buttons: [el("button", {
        type: "button", "aria-label": `Remove case ${k + 1}`, onclick: () => state.set({ pinned: state.pinned.filter((p) => p !== i) }),
      }, "remove")] }))
      : el("p", { class: "quiet" }, "Point at a mark to see its image, click to keep it here and compare. With the keyboard: arrows turn, + and − zoom, ",
        "0 resets, N and P step through the silent failures."));
  };

  /** Show the surest silent failures on the map beside it, as many as are as high as it, until the reader keeps cases there. */
  const surest = () => {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const columns = Math.floor(byId("latent-surest").clientWidth / rem / CARD[0]);
    const rows = Math.max(1, Math.floor(stage.clientHeight / rem / CARD[1]));
    const run = state.currentRun;
    const found = state.pinned.length ? [] : failuresOf(run, state.currentCsf, run.sets.keys())
      .filter((i) => cloud?.shown[i] && isTrusted(state.currentCsf, state.step, i)).slice(0, rows * columns);
    fill("latent-surest", found.length ? el("p", {}, "The surest silent failures on this map:") : null,
      found.map((i) => caseCard(page, i, { details: false, buttons: mapButton(page, i) })));
  };

  /** @param {number} i */
  const pin = (i) => {
    if (!chosenSets()[state.currentRun.points.set[i]]) {
      controls.show.value = "all";
      recolour();
    }
    if (!state.pinned.includes(i)) state.set({ pinned: [...state.pinned, i].slice(-MAX_PINS) });
  };

  for (const mode of questionsOf(state.currentRun)) controls.mode.append(el("option", { value: mode }, SCHEMES[mode][0]));
  const chooseSets = () => {
    const run = state.currentRun;
    const disturbed = run.sets.filter((set) => set.corruption !== null).length;
    controls.show.replaceChildren(disturbed && disturbed < run.sets.length ? el("option", { value: UNDISTURBED }, "undisturbed images") : "",
      el("option", { value: "all" }, "all test sets"),
      ...groupsOf(run).map(([kind]) => el("option", { value: kind }, page.data.groups[kind].title)),
      ...run.sets.map((set, i) => el("option", { value: `set-${i}` }, set.title)));
  };
  const adder = byId("latent-class", HTMLSelectElement);
  const drawClasses = () => {
    const names = state.currentRun.truths;
    fill("latent-classes", [...classes].map((c) => el("button", { type: "button", class: "chip", "aria-label": `Stop showing only ${names[c]}`,
      onclick: () => { classes.delete(c); chooseClasses(); } }, names[c], " ✕")));
    adder.options[0].textContent = classes.size ? "add another" : "all";
    adder.value = "";
  };
  const chooseClasses = () => { hidden.delete("class"); drawClasses(); recolour(); };
  adder.addEventListener("change", () => { if (adder.value) classes.add(Number(adder.value)); chooseClasses(); });
  state.watch(["run"], () => {
    const here = new Set(state.currentRun.points.label);
    adder.replaceChildren(el("option", { value: "" }, "all"),
      ...state.currentRun.truths.flatMap((name, c) => (here.has(c) ? [el("option", { value: c }, name)] : [])));
    byId("latent-class-box").hidden = !state.currentRun.classes.length;
    classes.clear();
    drawClasses();
  });
  controls.mode.addEventListener("change", recolour);
  controls.show.addEventListener("change", recolour);
  for (const slider of [controls.size, controls.opacity]) slider.addEventListener("input", () => redraw());
  state.watch(["run"], () => { hidden.clear(); chooseSets(); load(); describe(); });
  state.watch(["run", "csf", "step", "theme"], recolour);
  state.watch(["run", "csf", "step", "pinned"], () => { pins(); surest(); redraw(); });
  new ResizeObserver(() => redraw()).observe(stage);

  const lasso = modelOf(doc, "lasso");
  /** @param {number[]} values @param {number} side */
  const unit = (values, side) => values.map((v) => v / side);
  return {
    stage, camera, redraw, pin, draw,
    mode: "turn",
    /** @type {Selecting | null} */
    select: null,
    /** Draw the outline of a selection, in pixels of the stage. @param {number[]} xs @param {number[]} ys */
    outline: (xs, ys) => {
      const { width, height } = stage.getBoundingClientRect();
      lasso.setv({ xs: unit(xs, width), ys: unit(ys, height).map((v) => 1 - v), line_color: css("--accent"), fill_color: css("--accent") });
    },
    /** @returns {[number[], number[]]} */
    outlined: () => {
      const { width, height } = stage.getBoundingClientRect();
      return [lasso.xs.map((v) => v * width), lasso.ys.map((v) => (1 - v) * height)];
    },
    shownPoints: () => {
      const shown = cloud?.shown ?? new Uint8Array(0);
      return [...shown.keys()].filter((i) => shown[i]);
    },
    /** @param {number} x @param {number} y */
    pick: (x, y) => (cloud ? canvas.pick(Math.round(x * ratio), Math.round(y * ratio), Math.ceil(5 * ratio)) : -1),
    /** @param {number} i */
    isOn: (i) => Boolean(cloud?.shown[i]),
    /** @param {number} i @returns {[number, number]} */
    where: (i) => (cloud ? [cloud.x[i] / ratio, cloud.y[i] / ratio] : [NaN, NaN]),
  };
}
