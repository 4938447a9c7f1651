// Making elements. Text from the data only ever becomes textContent.

/** An element. Attributes starting with "on" are listeners; children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const [namespace, name] = tag.startsWith("svg:") ? ["http://www.w3.org/2000/svg", tag.slice(4)] : [null, tag];
  const node = namespace ? document.createElementNS(namespace, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

const USABLE = "button, summary, [tabindex]";

/** Put other children into an element; who has come to one of its buttons with the keyboard stays there. */
export function fill(id, ...children) {
  const node = byId(id);
  const place = [...node.querySelectorAll(USABLE)].indexOf(document.activeElement);
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  if (place >= 0) [...node.querySelectorAll(USABLE)].slice(0, place + 1).at(-1)?.focus({ preventScroll: true });
}

/** Lets the browser paint and answer the reader before the next piece of work. */
export const breath = () => new Promise((done) => { setTimeout(done); });

/** Cases and pictures come last in the file, so that the answer is there before they have been read. */
export const parsed = () => new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done);
  else done();
});
