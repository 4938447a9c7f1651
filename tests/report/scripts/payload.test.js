import assert from "node:assert/strict";
import test from "node:test";

import { fromBase64, withArrays } from "../../../monai_sf/report/scripts/payload.js";

test("base64 becomes bytes", () => {
  assert.deepEqual(fromBase64("AAH+/w=="), Uint8Array.of(0, 1, 254, 255));
  assert.deepEqual(fromBase64(""), new Uint8Array(0));
});

test("places become the arrays that they stand for", () => {
  const buffers = [new ArrayBuffer(16), Float64Array.of(0.5, -1).buffer];
  new Uint8Array(buffers[0]).set([1, 2, 3]);
  new Uint16Array(buffers[0], 8).set([65535, 7]);
  const content = {
    name: "x", none: null, list: [1, { deep: { $array: ["Float64Array", 0, 2, 1] } }],
    bytes: { $array: ["Uint8Array", 0, 3, 0] }, words: { $array: ["Uint16Array", 8, 2, 0] }, empty: { $array: ["Int32Array", 16, 0, 0] },
  };
  withArrays(content, (block) => buffers[block]);
  assert.deepEqual(content, {
    name: "x", none: null, list: [1, { deep: Float64Array.of(0.5, -1) }],
    bytes: Uint8Array.of(1, 2, 3), words: Uint16Array.of(65535, 7), empty: new Int32Array(0),
  });
});

test("a block is asked for when an array of it is first read, and once", () => {
  const asked = [];
  const content = { a: { $array: ["Uint8Array", 0, 1, 1] }, b: { $array: ["Uint8Array", 0, 1, 0] } };
  withArrays(content, (block) => { asked.push(block); return new ArrayBuffer(1); });
  assert.deepEqual(asked, []);
  assert.equal(content.a, content.a);
  assert.deepEqual(asked, [1]);
});
