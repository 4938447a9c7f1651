import assert from "node:assert/strict";
import test from "node:test";

import { Canvas3D } from "../../../monai_sf/report/scripts/splats.js";

const STYLES = [{ rgb: [200, 0, 0], shape: "square", size: 1, tier: 0 }, { rgb: [0, 0, 200], shape: "square", size: 1, tier: 1 }];
const cloud = (changes) => ({
  count: 3, x: Float32Array.of(10, 10, 40), y: Float32Array.of(10, 10, 40), depth: Float32Array.of(-0.5, 0.5, 0),
  code: Uint8Array.of(0, 0, 0), shown: Uint8Array.of(1, 1, 1), ...changes,
});

test("what is nearer is painted later, and a higher tier after all others", () => {
  const canvas = new Canvas3D();
  assert.deepEqual([...canvas.backToFront(cloud(), STYLES)], [1, 2, 0]);
  assert.deepEqual([...canvas.backToFront(cloud({ code: Uint8Array.of(0, 1, 0) }), STYLES)], [2, 0, 1]);
  assert.deepEqual([...canvas.backToFront(cloud({ shown: Uint8Array.of(0, 1, 1) }), STYLES)], [1, 2]);
});

test("a pointer picks what is painted on top, within its reach", () => {
  const canvas = new Canvas3D();
  canvas.resize(60, 60);
  canvas.clear([255, 255, 255]);
  canvas.paint(cloud(), STYLES, 4, 1);
  assert.equal(canvas.pick(10, 10, 0), 0);
  assert.equal(canvas.pick(40, 40, 0), 2);
  assert.equal(canvas.pick(47, 40, 5), 2);
  assert.equal(canvas.pick(25, 25, 3), -1);
  assert.equal(canvas.words[0], 0xffffffff);
  const word = canvas.words[10 * 60 + 10];
  assert.ok((word & 0xff) > 190 && (word >> 16 & 0xff) < 60, "red, in a little fog");
});
