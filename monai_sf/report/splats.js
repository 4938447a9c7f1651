// Thousands of small shapes painted back to front into one picture, with a second picture of who is where.

const DEPTH_BUCKETS = 1024;

/** Distance of (x, y) to the outline of a shape of radius 1, negative inside. */
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

const masks = new Map();

/** Pixels of a shape: offsets, coverage 0..256 and shade 0..256 (a dark rim sets neighbours apart). */
function maskOf(shape, radius) {
  const key = `${shape} ${radius}`;
  if (masks.has(key)) return masks.get(key);
  const reach = Math.ceil(radius + 1);
  const mask = { dx: [], dy: [], cover: [], shade: [], reach };
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const inside = -OUTLINE[shape](dx / radius, dy / radius) * radius;
      const cover = Math.round(256 * Math.min(Math.max(inside + 0.5, 0), 1));
      if (!cover) continue;
      mask.dx.push(dx);
      mask.dy.push(dy);
      mask.cover.push(cover);
      mask.shade.push(radius > 2.5 && inside < 1 ? 185 : 256);
    }
  }
  masks.set(key, mask);
  return mask;
}

class Canvas3D {
  resize(width, height) {
    this.width = width;
    this.height = height;
    this.words = new Uint32Array(width * height);
    this.bytes = new Uint8ClampedArray(this.words.buffer);
    this.ids = new Int32Array(width * height);
  }

  clear([r, g, b]) {
    this.ground = [r, g, b];
    this.words.fill((255 << 24) | (b << 16) | (g << 8) | r);
    this.ids.fill(-1);
  }

  line(x0, y0, x1, y1, [r, g, b], alpha) {
    const steps = Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0)));
    for (let s = 0; s <= steps; s++) {
      const x = x0 + ((x1 - x0) * s) / steps, y = y0 + ((y1 - y0) * s) / steps;
      const [left, top] = [Math.floor(x), Math.floor(y)];
      for (const [px, py, part] of [[left, top, (1 - x + left) * (1 - y + top)], [left + 1, top, (x - left) * (1 - y + top)],
        [left, top + 1, (1 - x + left) * (y - top)], [left + 1, top + 1, (x - left) * (y - top)]]) {
        if (px >= 0 && py >= 0 && px < this.width && py < this.height) this.blend((py * this.width + px) << 2, r, g, b, Math.round(part * alpha));
      }
    }
  }

  blend(at, r, g, b, alpha) {
    const { bytes } = this;
    bytes[at] += ((r - bytes[at]) * alpha) >> 8;
    bytes[at + 1] += ((g - bytes[at + 1]) * alpha) >> 8;
    bytes[at + 2] += ((b - bytes[at + 2]) * alpha) >> 8;
  }

  /**
   * Paint points. `cloud`: x, y, depth, code (Uint8 per point), shown (Uint8 per point), count.
   * `styles[code]`: rgb, shape, size, tier (a higher tier is painted above all of the lower ones).
   */
  paint(cloud, styles, radius, opacity) {
    const order = this.backToFront(cloud, styles);
    const { bytes, ids, width, height, ground } = this;
    for (const i of order) {
      const { rgb, shape, size } = styles[cloud.code[i]];
      const near = Math.min(Math.max(0.5 - cloud.depth[i] / 2.4, 0), 1);
      const perspective = DISTANCE / (DISTANCE + cloud.depth[i]);
      const mask = maskOf(shape, Math.max(Math.round(radius * size * perspective * 2) / 2, 1));
      const fog = 0.5 * (1 - near);
      const r = rgb[0] + (ground[0] - rgb[0]) * fog, g = rgb[1] + (ground[1] - rgb[1]) * fog, b = rgb[2] + (ground[2] - rgb[2]) * fog;
      const left = Math.round(cloud.x[i]), top = Math.round(cloud.y[i]);
      if (left < -mask.reach || top < -mask.reach || left >= width + mask.reach || top >= height + mask.reach) continue;
      const { dx, dy, cover, shade } = mask;
      for (let k = 0; k < dx.length; k++) {
        const x = left + dx[k], y = top + dy[k];
        if (x < 0 || y < 0 || x >= width || y >= height) continue;
        const p = y * width + x, q = p << 2;
        const alpha = cover[k] * opacity, dark = shade[k] / 256;
        bytes[q] += ((r * dark - bytes[q]) * alpha) / 256;
        bytes[q + 1] += ((g * dark - bytes[q + 1]) * alpha) / 256;
        bytes[q + 2] += ((b * dark - bytes[q + 2]) * alpha) / 256;
        if (cover[k] > 100) ids[p] = i;
      }
    }
  }

  backToFront({ depth, code, shown, count }, styles) {
    const tiers = 1 + Math.max(...styles.map((s) => s.tier || 0));
    const starts = new Uint32Array(DEPTH_BUCKETS * tiers + 1);
    const bucket = new Int32Array(count);
    let total = 0;
    for (let i = 0; i < count; i++) {
      if (!shown[i]) { bucket[i] = -1; continue; }
      const level = Math.min(Math.max(((1.8 - depth[i]) / 3.6) * DEPTH_BUCKETS, 0), DEPTH_BUCKETS - 1) | 0;
      bucket[i] = (styles[code[i]].tier || 0) * DEPTH_BUCKETS + level;
      starts[bucket[i] + 1]++;
      total++;
    }
    for (let k = 1; k < starts.length; k++) starts[k] += starts[k - 1];
    const order = new Uint32Array(total);
    for (let i = 0; i < count; i++) if (bucket[i] >= 0) order[starts[bucket[i]]++] = i;
    return order;
  }

  /** The point nearest to a place, within a few pixels; -1 for none. */
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
