import assert from "node:assert/strict";
import test from "node:test";

import { Camera } from "../../../monai_sf/report/scripts/camera.js";

const POINTS = Float32Array.of(0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, -0.4, 0.3, 0.2);

function projected(camera, width = 400, height = 300) {
  const [x, y, depth] = [0, 1, 2].map(() => new Float32Array(5));
  camera.project(POINTS, 5, width, height, x, y, depth);
  return { x, y, depth };
}

test("turning keeps a rotation a rotation", () => {
  const camera = new Camera();
  for (let i = 0; i < 50; i++) camera.rotate(0.3, -0.7);
  const rows = [0, 3, 6].map((k) => camera.rotation.slice(k, k + 3));
  rows.forEach((a, i) => rows.forEach((b, j) => {
    const product = a.reduce((sum, v, k) => sum + v * b[k], 0);
    assert.ok(Math.abs(product - Number(i === j)) < 1e-9);
  }));
});

test("the origin is in the middle of the picture, what is nearer is drawn larger", () => {
  const camera = new Camera();
  camera.rotation = [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const { x, y, depth } = projected(camera);
  assert.deepEqual([x[0], y[0], depth[0]], [200, 150, 0]);
  assert.deepEqual([x[1], y[2]], [350, 0]);
  assert.equal(depth[3], 1);
});

test("zooming leaves the place under the pointer where it is", () => {
  const camera = new Camera();
  const before = projected(camera);
  const place = [(before.x[4] - 200) / 300, (before.y[4] - 150) / 300];
  camera.zoomAt(1.7, ...place);
  const after = projected(camera);
  assert.ok(Math.abs(after.x[4] - before.x[4]) < 1e-3 && Math.abs(after.y[4] - before.y[4]) < 1e-3);
  assert.ok(Math.abs(after.x[1] - after.x[4]) > 1.6 * Math.abs(before.x[1] - before.x[4]));
});

test("fitting fills the picture with what is shown; a reset undoes all", () => {
  const camera = new Camera();
  const start = projected(camera);
  camera.fit(start.x, start.y, Uint8Array.of(1, 1, 1, 1, 1), 400, 300);
  const { x, y } = projected(camera);
  assert.ok(Math.min(...x) > 0 && Math.max(...x) < 400 && Math.min(...y) > 0 && Math.max(...y) < 300);
  assert.ok(Math.max(...x) - Math.min(...x) > 340 || Math.max(...y) - Math.min(...y) > 255);
  camera.rotate(1, 1);
  camera.reset();
  assert.deepEqual(projected(camera), start);
  assert.equal(camera.fitted, false);
});
