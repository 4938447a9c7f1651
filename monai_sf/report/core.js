// Reading the page's data, and making elements. Text from the data only ever becomes textContent.

const TYPED = { Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array };

function bytesOf(id) {
  const coded = document.getElementById(id).textContent.trim();
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(coded);
  const text = atob(coded);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const blocks = [];

/** Bytes of a block of arrays, decoded when first asked for: the first view needs one of them only. */
const blockOf = (index) => (blocks[index] ??= bytesOf(`sf-arrays-${index}`).buffer);

/** Make every {"$array": [type, offset, length, block]} the typed array it stands for, when it is first read. */
function withArrays(value) {
  if (value === null || typeof value !== "object") return;
  for (const key of Object.keys(value)) {
    const place = value[key]?.$array;
    if (!place) { withArrays(value[key]); continue; }
    const [type, offset, length, block] = place;
    const keep = (array) => Object.defineProperty(value, key, { value: array, enumerable: true })[key];
    Object.defineProperty(value, key, {
      configurable: true, enumerable: true, get: () => keep(new TYPED[type](blockOf(block), offset, length)) });
  }
}

function readData() {
  const content = JSON.parse(document.getElementById("sf-data").textContent);
  withArrays(content);
  return content;
}

/** An element. Attributes starting with "on" are listeners; children are nodes or text. */
function el(tag, attributes = {}, ...children) {
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

const byId = (id) => document.getElementById(id);

const USABLE = "button, summary, [tabindex]";

/** Put other children into an element; who has come to one of its buttons with the keyboard stays there. */
function fill(id, ...children) {
  const node = byId(id);
  const place = [...node.querySelectorAll(USABLE)].indexOf(document.activeElement);
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  if (place >= 0) [...node.querySelectorAll(USABLE)].slice(0, place + 1).at(-1)?.focus({ preventScroll: true });
}

const number = (value) => value.toLocaleString("en-US");

function percent(value, digits = 1) {
  return value === null || Number.isNaN(value) ? "–" : `${(100 * value).toFixed(digits)}\u00a0%`;
}

/** An interval in words; cases of a single patient have none. */
const rangeText = ([low, high], digits = 1) => (Number.isNaN(low) ? "no interval" : `95 % interval ${percent(low, digits)} to ${percent(high, digits)}`);

const ends = ([low, high]) => (Number.isNaN(low) ? "no interval" : `${percent(low)} – ${percent(high)}`);

/** Wilson's 95 % interval of a share p of n independent cases, [low, high]; NaN where there is none. */
function interval(p, n) {
  if (!n) return [NaN, NaN];
  const z = 1.959963984540054;
  const middle = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
}

/** Lets the browser paint and answer the reader before the next piece of work. */
const breath = () => new Promise((done) => { setTimeout(done); });

/** Cases and pictures come last in the file, so that the answer is there before they have been read. */
const parsed = new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done);
  else done();
});

/** Thumbnails, decoded sheet by sheet when first needed. */
class Pictures {
  constructor(tile) {
    this.tile = tile;
    this.sheets = new Map();
  }

  sheet(index) {
    if (!this.sheets.has(index)) {
      const decode = () => createImageBitmap(new Blob([bytesOf(`sf-sheet-${index}`)], { type: "image/webp" }));
      this.sheets.set(index, parsed.then(decode));
    }
    return this.sheets.get(index);
  }

  /** Draw a thumbnail into a canvas element; resolves when it is there. */
  async draw(canvas, index) {
    const sheet = await this.sheet(Math.floor(index / 256));
    const x = (index % 16) * this.tile;
    const y = Math.floor((index % 256) / 16) * this.tile;
    canvas.width = canvas.height = this.tile;
    canvas.getContext("2d").drawImage(sheet, x, y, this.tile, this.tile, 0, 0, this.tile, this.tile);
    canvas.dataset.drawn = "yes";
  }
}
