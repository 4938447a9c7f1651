// Thousands of small shapes painted back to front into one picture; a second picture holds the point at each pixel.

import { DISTANCE } from "./camera.js";

/** @import { Rgb, Shape } from "./look.js" */

/**
 * @typedef {object} Cloud Points to paint; arrays are by point.
 * @property {number} count
 * @property {Float32Array} x
 * @property {Float32Array} y
 * @property {Float32Array} depth
 * @property {Uint8Array} code Index into the styles.
 * @property {Uint8Array} shown
 *
 * @typedef {{ rgb: Rgb, shape: Shape, size: number, tier: number }} Style A higher tier is painted above all lower ones.
 * @typedef {{ reach: number, dx: Int16Array, dy: Int16Array, cover: Int16Array, rim: Uint8Array }} Mask
 */

const DEPTH_BUCKETS = 1024, FOG_LEVELS = 24;

/**
 * Return the distance of (x, y) from the outline of a shape of radius 1, negative inside.
 *
 * @type {Record<Shape, (x: number, y: number) => number>}
 */
const OUTLINE = {
  circle: (x, y) => Math.hypot(x, y) - 0.8,
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.68) - 0.24,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) - 0.72,
  diamond: (x, y) => (Math.abs(x) + Math.abs(y) - 1) * 0.7071,
  triangle: (x, y) => Math.max(y - 0.62, Math.abs(x) * 0.866 - y * 0.5 - 0.5),
  down: (x, y) => Math.max(-y - 0.62, Math.abs(x) * 0.866 + y * 0.5 - 0.5),
  plus: (x, y) => Math.max(Math.min(Math.abs(x), Math.abs(y)) - 0.3, Math.max(Math.abs(x), Math.abs(y)) - 0.92),
  cross: (x, y) => OUTLINE.plus((x + y) * 0.7071, (x - y) * 0.7071),
};

/** @type {Record<string, Mask[]>} By shape and double radius. */
const masks = Object.fromEntries(Object.keys(OUTLINE).map((shape) => [shape, []]));

/**
 * Return the pixels of a shape whose radius is a multiple of 0.5: offsets, coverage in 0..256, and whether they belong
 * to the rim (a dark rim separates neighbours).
 *
 * @param {Shape} shape
 * @param {number} radius
 * @returns {Mask}
 */
function maskOf(shape, radius) {
  const known = masks[shape][2 * radius];
  if (known) return known;
  const reach = Math.ceil(radius + 1);
  /** @type {[number[], number[], number[], number[]]} */
  const [dx, dy, cover, rim] = [[], [], [], []];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const inside = -OUTLINE[shape](x / radius, y / radius) * radius;
      const part = Math.round(256 * Math.min(Math.max(inside + 0.5, 0), 1));
      if (!part) continue;
      dx.push(x);
      dy.push(y);
      cover.push(part);
      rim.push(Number(radius > 2.5 && inside < 1));
    }
  }
  const mask = { reach, dx: Int16Array.from(dx), dy: Int16Array.from(dy), cover: Int16Array.from(cover), rim: Uint8Array.from(rim) };
  masks[shape][2 * radius] = mask;
  return mask;
}

/**
 * Return the words (0xAABBGGRR) of a style's colour by fog level and rim, at [2 * level + rim].
 *
 * @param {Rgb} rgb
 * @param {Rgb} ground
 */
function shadesOf(rgb, ground) {
  const shades = new Uint32Array(2 * FOG_LEVELS);
  for (let level = 0; level < FOG_LEVELS; level++) {
    const fog = (0.5 * level) / (FOG_LEVELS - 1);
    for (const rim of [0, 1]) {
      const [r, g, b] = rgb.map((v, k) => Math.round((v + (ground[k] - v) * fog) * (rim ? 0.72 : 1)));
      shades[2 * level + rim] = (b << 16) | (g << 8) | r;
    }
  }
  return shades;
}

/**
 * Blend a colour over a word with alpha in 0..256: red and blue together, then green.
 *
 * @param {number} word
 * @param {number} colour
 * @param {number} alpha
 */
function mixed(word, colour, alpha) {
  const rest = 256 - alpha;
  const redBlue = ((Math.imul(word & 0xff00ff, rest) + Math.imul(colour & 0xff00ff, alpha)) >>> 8) & 0xff00ff;
  const green = ((Math.imul(word & 0xff00, rest) + Math.imul(colour & 0xff00, alpha)) >>> 8) & 0xff00;
  return 0xff000000 | redBlue | green;
}

export class Canvas3D {
  width = 0;
  height = 0;
  words = new Uint32Array(0);
  ids = new Int32Array(0);
  /** @type {Rgb} */
  ground = [0, 0, 0];

  /** @param {number} width @param {number} height */
  resize(width, height) {
    this.width = width;
    this.height = height;
    this.words = new Uint32Array(width * height);
    this.ids = new Int32Array(width * height);
  }

  /** @param {Rgb} ground */
  clear([r, g, b]) {
    this.ground = [r, g, b];
    this.words.fill((255 << 24) | (b << 16) | (g << 8) | r);
    this.ids.fill(-1);
  }

  /**
   * @param {number} x0
   * @param {number} y0
   * @param {number} x1
   * @param {number} y1
   * @param {Rgb} colour
   * @param {number} alpha 0 to 256.
   */
  line(x0, y0, x1, y1, [r, g, b], alpha) {
    const colour = (b << 16) | (g << 8) | r;
    const steps = Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0)));
    for (let s = 0; s <= steps; s++) {
      const x = x0 + ((x1 - x0) * s) / steps, y = y0 + ((y1 - y0) * s) / steps;
      const [left, top] = [Math.floor(x), Math.floor(y)];
      for (const [px, py, part] of [[left, top, (1 - x + left) * (1 - y + top)], [left + 1, top, (x - left) * (1 - y + top)],
        [left, top + 1, (1 - x + left) * (y - top)], [left + 1, top + 1, (x - left) * (y - top)]]) {
        if (px < 0 || py < 0 || px >= this.width || py >= this.height) continue;
        const p = py * this.width + px;
        this.words[p] = mixed(this.words[p], colour, Math.round(part * alpha));
      }
    }
  }

  /**
   * @param {Cloud} cloud
   * @param {Style[]} styles
   * @param {number} radius
   * @param {number} opacity
   */
  paint(cloud, styles, radius, opacity) {
    const order = this.backToFront(cloud, styles);
    const { x, y, depth, code } = cloud;
    const shades = styles.map(({ rgb }) => shadesOf(rgb, this.ground));
    const strength = Math.round(256 * opacity);
    for (let n = 0; n < order.length; n++) {
      const i = order[n];
      const style = styles[code[i]];
      const far = Math.min(Math.max(0.5 + depth[i] / 2.4, 0), 1);
      const perspective = DISTANCE / (DISTANCE + depth[i]);
      const mask = maskOf(style.shape, Math.max(Math.round(radius * style.size * perspective * 2) / 2, 1));
      const level = 2 * Math.round(far * (FOG_LEVELS - 1));
      this.stamp(mask, Math.round(x[i]), Math.round(y[i]), shades[code[i]], level, strength, i);
    }
  }

  /**
   * @param {Mask} mask
   * @param {number} left
   * @param {number} top
   * @param {Uint32Array} shades
   * @param {number} level
   * @param {number} strength
   * @param {number} id
   */
  stamp(mask, left, top, shades, level, strength, id) {
    const { reach, dx, dy, cover, rim } = mask;
    const { words, ids, width, height } = this;
    if (left < -reach || top < -reach || left >= width + reach || top >= height + reach) return;
    const whole = left >= reach && top >= reach && left + reach < width && top + reach < height;
    for (let k = 0; k < dx.length; k++) {
      const px = left + dx[k], py = top + dy[k];
      if (!whole && (px < 0 || py < 0 || px >= width || py >= height)) continue;
      const p = py * width + px;
      words[p] = mixed(words[p], shades[level + rim[k]], (cover[k] * strength) >> 8);
      if (cover[k] > 100) ids[p] = id;
    }
  }

  /**
   * Return the indices of the shown points in the order in which they are painted.
   *
   * @param {Cloud} cloud
   * @param {Style[]} styles
   */
  backToFront({ depth, code, shown, count }, styles) {
    const tiers = 1 + Math.max(...styles.map((s) => s.tier));
    const starts = new Uint32Array(DEPTH_BUCKETS * tiers + 1);
    const bucket = new Int32Array(count);
    let total = 0;
    for (let i = 0; i < count; i++) {
      if (!shown[i]) { bucket[i] = -1; continue; }
      const level = Math.min(Math.max(((1.8 - depth[i]) / 3.6) * DEPTH_BUCKETS, 0), DEPTH_BUCKETS - 1) | 0;
      bucket[i] = styles[code[i]].tier * DEPTH_BUCKETS + level;
      starts[bucket[i] + 1]++;
      total++;
    }
    for (let k = 1; k < starts.length; k++) starts[k] += starts[k - 1];
    const order = new Uint32Array(total);
    for (let i = 0; i < count; i++) if (bucket[i] >= 0) order[starts[bucket[i]]++] = i;
    return order;
  }

  /**
   * Return the point nearest to a place, within `reach` pixels; -1 for none.
   *
   * @param {number} x
   * @param {number} y
   * @param {number} reach
   */
  pick(x, y, reach) {
    let best = -1, nearest = Infinity;
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const [px, py, d] = [x + dx, y + dy, dx * dx + dy * dy];
        if (d >= nearest || px < 0 || py < 0 || px >= this.width || py >= this.height) continue;
        const id = this.ids[py * this.width + px];
        if (id >= 0) { best = id; nearest = d; }
      }
    }
    return best;
  }
}
