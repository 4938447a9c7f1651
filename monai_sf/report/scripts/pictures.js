// Thumbnails, decoded sheet by sheet when first needed.

import { parsed } from "./elements.js";
import { bytesOf } from "./payload.js";

export class Pictures {
  constructor(tile) {
    this.tile = tile;
    this.sheets = new Map();
  }

  sheet(index) {
    if (!this.sheets.has(index)) {
      const decode = () => createImageBitmap(new Blob([bytesOf(`sf-sheet-${index}`)], { type: "image/webp" }));
      this.sheets.set(index, parsed().then(decode));
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
