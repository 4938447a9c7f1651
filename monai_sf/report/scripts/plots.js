// The plotting library: loading it, and the parts of it that the page uses.

import { breath, byId, el } from "./elements.js";
import { css } from "./look.js";

/**
 * @typedef {object} Model A Bokeh model of any kind; of its properties, those that the page uses.
 * @property {BokehDocument} document
 * @property {string} type
 * @property {Record<string, any>} data Of a data source.
 * @property {Model[]} below Axes.
 * @property {Model[]} left Axes.
 * @property {Model[]} center Grids and others.
 * @property {{ start: number }} x_range
 * @property {{ end: number }} y_range
 * @property {number[]} xs
 * @property {number[]} ys
 * @property {(values: Record<string, unknown>) => void} setv
 * @property {(name: string, listener: (event: { x: number, y: number }) => void) => void} on_event
 *
 * @typedef {{ get_model_by_name(name: string): Model | null }} BokehDocument
 * @typedef {{ documents: BokehDocument[], embed: { embed_item(item: unknown, target: string): Promise<unknown> } }} Library
 */

/** @param {BokehDocument} of @param {string} name */
export function modelOf(of, name) {
  const model = of.get_model_by_name(name);
  if (!model) throw new Error(`there is no plot with ${name}`);
  return model;
}

/** Take the library's canvases out of the tab order: they have no name and offer no action. @param {Element} node */
function noStops(node) {
  for (const child of [...node.children, ...(node.shadowRoot?.children ?? [])]) {
    if (child instanceof HTMLElement && child.tabIndex >= 0) child.tabIndex = -1;
    noStops(child);
  }
}

/**
 * Draw all figures. The library is the largest script, and the summary does not need it: it runs after the summary is shown.
 *
 * @returns {Promise<(name: string) => Model>} The figures by name.
 */
export async function drawPlots() {
  document.head.append(el("script", {}, byId("sf-library").textContent));
  const library = /** @type {{ Bokeh: Library }} */ (/** @type {unknown} */ (window)).Bokeh;
  const figures = JSON.parse(byId("sf-figures").textContent);
  await breath();
  await Promise.all(Object.entries(figures).map(([target, item]) => library.embed.embed_item(item, target)));
  for (const target of Object.keys(figures)) noStops(byId(target));
  return (name) => modelOf(library.documents.find((found) => found.get_model_by_name(name)) ?? library.documents[0], name);
}

/** Apply the page's colours to a plot. @param {Model} plot */
export function restyle(plot) {
  const ink = css("--ink-2");
  const size = `${0.8 * parseFloat(getComputedStyle(document.documentElement).fontSize)}px`;
  for (const axis of [...plot.below, ...plot.left]) {
    axis.setv({ axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: css("--line"),
      axis_label_text_font_size: size, major_label_text_font_size: size });
  }
  for (const grid of plot.center) {
    if (grid.type === "Grid") grid.setv({ grid_line_color: css("--line"), grid_line_alpha: 0.6 });
  }
}
