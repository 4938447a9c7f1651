// Colours with a second cue: every category has a shape too. The palette is Okabe and Ito's (2008),
// which people with any colour vision tell apart; in greyscale the shapes do it.

const SHAPES = ["circle", "diamond", "square", "triangle", "cross", "plus", "ring", "down"];

const PALETTE = {
  light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#444444", "#8B5A2B"],
  dark: ["#4FA8E0", "#FF8A3D", "#2CC79A", "#E39CC4", "#E8B93C", "#9AD4F5", "#C8C8C8", "#C99866"],
};

const OUTCOMES = [
  { name: "Trusted, correct", short: "correct", light: "#9AA3AE", dark: "#66707D", shape: "circle", size: 0.75 },
  { name: "False alarm", short: "false alarm", light: "#B8860B", dark: "#E8B93C", shape: "ring", size: 0.95 },
  { name: "Detected failure", short: "detected", light: "#0072B2", dark: "#4FA8E0", shape: "diamond", size: 1.25 },
  { name: "Silent failure", short: "silent failure", light: "#D1330A", dark: "#FF6B3D", shape: "cross", size: 1.7 },
];

// cividis, sampled: rising in lightness, safe for all colour vision
const CIVIDIS = ["#00224E", "#1A386F", "#434E6C", "#61656F", "#7D7C78", "#9B9476", "#BCAE6C", "#DEC958", "#FEE838"];

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
let printing = false;
const theme = () => (DARK.matches && !printing ? "dark" : "light");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function hexToRgb(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** Colour at t in [0, 1] of a list of colours, as [r, g, b]. */
function ramp(colours, t) {
  const at = Math.min(Math.max(t, 0), 1) * (colours.length - 1);
  const i = Math.min(Math.floor(at), colours.length - 2);
  const [a, b] = [hexToRgb(colours[i]), hexToRgb(colours[i + 1])];
  return a.map((v, k) => Math.round(v + (b[k] - v) * (at - i)));
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

function shapeIcon(shape, colour) {
  return el("svg:svg", { viewBox: "0 0 16 16", class: "shape", "aria-hidden": "true" },
    el("svg:path", { d: PATHS[shape], fill: colour, "fill-rule": "evenodd" }));
}

/** Dash patterns, the second cue of the curves. */
const DASHES = ["solid", [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [14, 4], [1, 2], [10, 2, 2, 2, 2, 2], [4, 2]];

function csfStyle(names, name) {
  const i = names.indexOf(name);
  return { colour: PALETTE[theme()][i % 8], dash: DASHES[i % DASHES.length] };
}

function dashIcon({ colour, dash }) {
  return el("svg:svg", { viewBox: "0 0 28 8", class: "dash", "aria-hidden": "true" },
    el("svg:path", { d: "M1 4h26", stroke: colour, "stroke-width": 3, fill: "none",
      "stroke-dasharray": dash === "solid" ? null : dash.join(" ") }));
}
