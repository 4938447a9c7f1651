// Creation of elements. Text from the data is only ever set as textContent.

/** @typedef {Node | string | null | undefined | { readonly [place: number]: Child, readonly length: number }} Child */

/** @param {Child[]} children */
const present = (children) => /** @type {(Node | string)[]} */ (
  children.flat(Infinity).filter((child) => child !== null && child !== undefined));

/**
 * Create an element. Attributes starting with "on" are listeners; children are nodes or text.
 *
 * @template {keyof HTMLElementTagNameMap | `svg:${string}`} T
 * @param {T} tag
 * @param {Record<string, any>} attributes
 * @param {Child[]} children
 * @returns {T extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[T] : SVGElement}
 */
export function el(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...present(children));
  return /** @type {any} */ (node);
}

/**
 * Return the element with an id, checked to be of a class.
 *
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind]
 */
export function byId(id, kind) {
  const node = document.getElementById(id);
  if (!(node instanceof (kind ?? HTMLElement))) throw new Error(`the page has no ${id}`);
  return /** @type {T} */ (node);
}

const USABLE = "button, summary, [tabindex]";

/**
 * Replace the children of an element and keep the keyboard focus on the same button.
 *
 * @param {string} id
 * @param {Child[]} children
 */
export function fill(id, ...children) {
  const node = byId(id);
  /** @returns {HTMLElement[]} */
  const usable = () => [...node.querySelectorAll(USABLE)].filter((found) => found instanceof HTMLElement);
  const place = usable().findIndex((found) => found === document.activeElement);
  node.replaceChildren(...present(children));
  if (place >= 0) usable().slice(0, place + 1).at(-1)?.focus({ preventScroll: true });
}

/** Yield, so that the browser can paint and handle input before the next piece of work. */
export const breath = () => new Promise((done) => { setTimeout(done); });

/**
 * Wait until the document is parsed. Cases and pictures come last in it, so that the summary is shown before they are read.
 *
 * @returns {Promise<unknown>}
 */
export const parsed = () => new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done);
  else done(null);
});
