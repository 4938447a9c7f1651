// Reading the page's data, and making elements. Text from the data only ever becomes textContent.

const TYPED = { Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array };

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Replace every {"$array": [type, offset, length]} by the typed array it stands for. */
function withArrays(value, buffer) {
  if (value === null || typeof value !== "object") return value;
  if (value.$array) {
    const [type, offset, length] = value.$array;
    return new TYPED[type](buffer, offset, length);
  }
  for (const key of Object.keys(value)) value[key] = withArrays(value[key], buffer);
  return value;
}

function readData() {
  const content = JSON.parse(document.getElementById("sf-data").textContent);
  return withArrays(content, bytesOf("sf-arrays").buffer);
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

function fill(id, ...children) {
  byId(id).replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

const number = (value) => value.toLocaleString("en-US");

function percent(value, digits = 1) {
  return value === null || Number.isNaN(value) ? "–" : `${(100 * value).toFixed(digits)}\u00a0%`;
}

/** Wilson's 95 % interval of a share p of n independent cases, [low, high]. */
function interval(p, n) {
  if (!n) return [NaN, NaN];
  const z = 1.959963984540054;
  const middle = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
}

/** The pictures come last in the file, so that the page is there before they have been read. */
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
      const decode = () => createImageBitmap(new Blob([bytesOf(`sf-sheet-${index}`)], { type: "image/jpeg" }));
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
