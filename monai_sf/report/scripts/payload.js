// The page's data: what report/payload.py and report/packing.py write.

const TYPED = { Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array };

export function bytesOf(id) {
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

export function readPayload() {
  const content = JSON.parse(document.getElementById("sf-data").textContent);
  withArrays(content);
  return content;
}
