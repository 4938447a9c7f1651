// Thumbnails. A sheet of them is decoded when it is first needed.

import { parsed } from "./elements.js";
import { bytesOf } from "./payload.js";

export class Pictures {
  /** @param {number} tile Side of a thumbnail in pixels. */
  constructor(tile) {
    this.tile = tile;
    /** @type {Map<number, Promise<ImageBitmap>>} */
    this.sheets = new Map();
  }

  /** @param {number} index */
  sheet(index) {
    const decode = () => createImageBitmap(new Blob([bytesOf(`sf-sheet-${index}`)], { type: "image/webp" }));
    const sheet = this.sheets.get(index) ?? parsed().then(decode);
    this.sheets.set(index, sheet);
    return sheet;
  }

  /**
   * Draw a thumbnail; the promise resolves when it is drawn.
   *
   * @param {HTMLCanvasElement} canvas
   * @param {number} index
   */
  async draw(canvas, index) {
    const sheet = await this.sheet(Math.floor(index / 256));
    const x = (index % 16) * this.tile;
    const y = Math.floor((index % 256) / 16) * this.tile;
    canvas.width = canvas.height = this.tile;
    canvas.getContext("2d")?.drawImage(sheet, x, y, this.tile, this.tile, 0, 0, this.tile, this.tile);
    canvas.dataset.drawn = "yes";
  }
}
