// The camera of the map: rotation, zoom and shift, and the projection of all points.

export const DISTANCE = 3.4;
const FILLED = 0.88, MAX_HOME = 6;

/**
 * Return the rotation `m` (rows of a matrix) turned further by two angles.
 *
 * @param {number[]} m
 * @param {number} dx
 * @param {number} dy
 */
function turned(m, dx, dy) {
  const [cx, sx, cy, sy] = [Math.cos(dx), Math.sin(dx), Math.cos(dy), Math.sin(dy)];
  // about the screen's y axis by dx, then about its x axis by dy
  const [a, b] = [m.slice(0, 3), m.slice(6, 9)];
  const x = a.map((v, i) => cx * v + sx * b[i]);
  const z = a.map((v, i) => -sx * v + cx * b[i]);
  const y = m.slice(3, 6);
  return [...x, ...y.map((v, i) => cy * v - sy * z[i]), ...y.map((v, i) => sy * v + cy * z[i])];
}

export class Camera {
  rotation = turned([1, 0, 0, 0, 1, 0, 0, 0, 1], 0.5, 0.35);
  zoom = 1;
  home = 1;
  /** @type {[number, number]} */
  shift = [0, 0];
  fitted = false;

  reset() {
    Object.assign(this, new Camera());
  }

  /**
   * Zoom and shift so that the projected points fill the picture, apart from 0.5 % of them at each edge.
   *
   * @param {Float32Array} x
   * @param {Float32Array} y
   * @param {Uint8Array} shown
   * @param {number} width
   * @param {number} height
   */
  fit(x, y, shown, width, height) {
    this.fitted = true;
    const side = Math.min(width, height);
    /** @param {Float32Array} values @param {number} length */
    const fitted = (values, length) => {
      const sorted = values.filter((_, i) => shown[i]).sort();
      const edge = Math.floor(sorted.length * 0.005);
      const [low, high] = [sorted[edge], sorted[sorted.length - 1 - edge]];
      return { middle: (low + high - length) / 2 / side, room: (FILLED * length) / Math.max(high - low, 1) };
    };
    const [across, down] = [fitted(x, width), fitted(y, height)];
    const zoom = Math.min(across.room, down.room, MAX_HOME);
    if (!(zoom > 0)) return;
    this.zoom = this.home = zoom;
    this.shift = [-across.middle * zoom, -down.middle * zoom];
  }

  /** Turn by angles about the screen's y and x axes. @param {number} dx @param {number} dy */
  rotate(dx, dy) {
    this.rotation = turned(this.rotation, dx, dy);
  }

  /**
   * Zoom by a factor around a place on the screen. The place is given relative to the middle, in fractions of the smaller side.
   *
   * @param {number} factor
   */
  zoomAt(factor, x = 0, y = 0) {
    const zoom = Math.min(Math.max(this.zoom * factor, 0.4), 30);
    const done = zoom / this.zoom;
    this.shift = [x + (this.shift[0] - x) * done, y + (this.shift[1] - y) * done];
    this.zoom = zoom;
  }

  /**
   * Fill x, y (pixels from top left) and depth (larger is farther) for `count` points of `xyz`.
   *
   * @param {Float32Array} xyz
   * @param {number} count
   * @param {number} width
   * @param {number} height
   * @param {Float32Array} x
   * @param {Float32Array} y
   * @param {Float32Array} depth
   */
  project(xyz, count, width, height, x, y, depth) {
    const m = this.rotation;
    const side = Math.min(width, height);
    const scale = 0.5 * side * this.zoom;
    const [left, top] = [width / 2 + this.shift[0] * side, height / 2 + this.shift[1] * side];
    for (let i = 0, k = 0; i < count; i++, k += 3) {
      const [a, b, c] = [xyz[k], xyz[k + 1], xyz[k + 2]];
      const z = m[6] * a + m[7] * b + m[8] * c;
      const perspective = (scale * DISTANCE) / (DISTANCE + z);
      x[i] = left + (m[0] * a + m[1] * b + m[2] * c) * perspective;
      y[i] = top - (m[3] * a + m[4] * b + m[5] * c) * perspective;
      depth[i] = z;
    }
  }
}
