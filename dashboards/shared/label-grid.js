// Boxes on a picture that may not overlap. The first one to ask gets the place.

const CELL = 56;

/** @typedef {number[]} Box left, top, right, bottom */

export class LabelGrid {
  /**
   * A grid of [width, height] pixels; a margin of `edge` stays free.
   * @param {number[]} size
   * @param {number} edge
   */
  constructor([width, height], edge = 2) {
    this.inner = [edge, edge, width - edge, height - edge];
    /** @type {Map<number, Box[]>} */
    this.boxes = new Map();
  }

  /**
   * Whether a box [left, top, right, bottom] lies inside and covers none that has been taken.
   * @param {Box} box
   */
  free(box) {
    const { inner } = this;
    if (box[0] < inner[0] || box[1] < inner[1] || box[2] > inner[2] || box[3] > inner[3]) return false;
    return !this.cells(box).some((key) => this.boxes.get(key)?.some((other) => boxesMeet(box, other)));
  }

  /**
   * Takes a box, whether or not it was free.
   * @param {Box} box
   */
  take(box) {
    for (const key of this.cells(box)) {
      const known = this.boxes.get(key);
      if (known) known.push(box);
      else this.boxes.set(key, [box]);
    }
  }

  /**
   * Whether a place is in a box that has been taken, or nearer to one than `reach` pixels.
   * @param {number} x
   * @param {number} y
   * @param {number} reach
   */
  near(x, y, reach) {
    const here = this.boxes.get(cellKey(Math.floor(x / CELL), Math.floor(y / CELL)));
    return here?.some((box) => x > box[0] - reach && x < box[2] + reach && y > box[1] - reach && y < box[3] + reach) ?? false;
  }

  /** @param {Box} box */
  cells(box) {
    const keys = [];
    for (let across = Math.floor(box[0] / CELL); across <= Math.floor(box[2] / CELL); across += 1) {
      for (let down = Math.floor(box[1] / CELL); down <= Math.floor(box[3] / CELL); down += 1) keys.push(cellKey(across, down));
    }
    return keys;
  }
}

/**
 * @param {number} across
 * @param {number} down
 */
function cellKey(across, down) {
  return across * 4096 + down;
}

/**
 * @param {Box} a
 * @param {Box} b
 */
function boxesMeet(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
