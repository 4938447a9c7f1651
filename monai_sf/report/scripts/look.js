// Colours with a second cue: every category also has a shape. The palette is Okabe and Ito's (2008), whose colours
// can be told apart with any type of colour vision; in greyscale, the shapes tell the categories apart.

import { el } from "./elements.js";

/** @import { ColouredOutcome, Colours } from "./payload.js" */

/**
 * @typedef {[number, number, number]} Rgb Each 0 to 255.
 * @typedef {keyof typeof PATHS} Shape
 */

/** @type {Shape[]} */
export const SHAPES = ["circle", "diamond", "square", "triangle", "cross", "plus", "ring", "down"];

/** @type {Colours["categories"]} */
export const PALETTE = { light: [], dark: [] };
/** @type {(ColouredOutcome & { shape: Shape })[]} */
export const OUTCOMES = [];
/** @type {string[]} */
export const CIVIDIS = [];

/** Take the colours of the payload (monai_sf/vocabulary/colours.py), before anything is drawn. @param {Colours} colours */
export function setColours({ categories, outcomes, levels }) {
  Object.assign(PALETTE, categories);
  OUTCOMES.splice(0, OUTCOMES.length, .../** @type {typeof OUTCOMES} */ (outcomes));
  CIVIDIS.splice(0, CIVIDIS.length, ...levels);
}

let printing = false;
/** Set whether the page is being printed, which uses the light theme. @param {boolean} on */
export const setPrinting = (on) => { printing = on; };
export const darkScheme = () => window.matchMedia("(prefers-color-scheme: dark)");
export const theme = () => (darkScheme().matches && !printing ? "dark" : "light");
/** Return the value of a custom property of the style sheet. @param {string} name */
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return a colour of the style sheet, #RGB or #RRGGBB, as numbers. @param {string} hex @returns {Rgb} */
export function hexToRgb(hex) {
  const digits = hex.slice(1);
  const value = parseInt(digits.length === 3 ? digits.replace(/./g, "$&$&") : digits, 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** Interpolate a list of colours at t in [0, 1]. @param {string[]} colours @param {number} t @returns {Rgb} */
export function ramp(colours, t) {
  const at = Math.min(Math.max(t, 0), 1) * (colours.length - 1);
  const i = Math.min(Math.floor(at), colours.length - 2);
  const [a, b] = [hexToRgb(colours[i]), hexToRgb(colours[i + 1])];
  /** @param {0 | 1 | 2} k */
  const mix = (k) => Math.round(a[k] + (b[k] - a[k]) * (at - i));
  return [mix(0), mix(1), mix(2)];
}

const PATHS = {
  circle: "M8 3a5 5 0 1 0 .01 0z",
  ring: "M8 2a6 6 0 1 0 .01 0zM8 5a3 3 0 1 1-.01 0z",
  square: "M3.5 3.5h9v9h-9z",
  diamond: "M8 1.5 14.5 8 8 14.5 1.5 8z",
  triangle: "M8 2 14.5 13.5h-13z",
  down: "M8 14 1.5 2.5h13z",
  cross: "M3.8 1.7 8 5.9l4.2-4.2 2.1 2.1L10.1 8l4.2 4.2-2.1 2.1L8 10.1l-4.2 4.2-2.1-2.1L5.9 8 1.7 3.8z",
  plus: "M6.3 1.5h3.4v4.8h4.8v3.4H9.7v4.8H6.3V9.7H1.5V6.3h4.8z",
};

/** @param {Shape} shape @param {string} colour */
export function shapeIcon(shape, colour) {
  return el("svg:svg", { viewBox: "0 0 16 16", class: "shape", "aria-hidden": "true" },
    el("svg:path", { d: PATHS[shape], fill: colour, "fill-rule": "evenodd" }));
}

/** Dash patterns, the second cue of the curves. @type {("solid" | number[])[]} */
const DASHES = ["solid", [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [14, 4], [1, 2], [10, 2, 2, 2, 2, 2], [4, 2]];

/** @param {string[]} names @param {string} name */
export function csfStyle(names, name) {
  const i = names.indexOf(name);
  return { colour: PALETTE[theme()][i % 8], dash: DASHES[i % DASHES.length] };
}

/** @param {ReturnType<typeof csfStyle>} style */
export function dashIcon({ colour, dash }) {
  return el("svg:svg", { viewBox: "0 0 28 8", class: "dash", "aria-hidden": "true" },
    el("svg:path", { d: "M1 4h26", stroke: colour, "stroke-width": 3, fill: "none",
      "stroke-dasharray": typeof dash === "string" ? null : dash.join(" ") }));
}
