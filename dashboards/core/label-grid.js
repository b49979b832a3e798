// Boxes on a picture of which none may cover another. The first to ask gets the place.

const CELL = 56;

export class LabelGrid {
  /** A grid of [width, height] pixels; a margin of `edge` stays free. */
  constructor([width, height], edge = 2) {
    this.inner = [edge, edge, width - edge, height - edge];
    this.boxes = new Map();
  }

  /** Whether a box [left, top, right, bottom] lies inside and covers none that has been taken. */
  free(box) {
    const { inner } = this;
    if (box[0] < inner[0] || box[1] < inner[1] || box[2] > inner[2] || box[3] > inner[3]) return false;
    return !this.cells(box).some((key) => this.boxes.get(key)?.some((other) => boxesMeet(box, other)));
  }

  /** Takes a box, whether or not it was free. */
  take(box) {
    for (const key of this.cells(box)) {
      if (!this.boxes.has(key)) this.boxes.set(key, []);
      this.boxes.get(key).push(box);
    }
  }

  /** Whether a place is in a box that has been taken, or nearer to one than `reach` pixels. */
  near(x, y, reach) {
    const here = this.boxes.get(cellKey(Math.floor(x / CELL), Math.floor(y / CELL)));
    return here?.some((box) => x > box[0] - reach && x < box[2] + reach && y > box[1] - reach && y < box[3] + reach) ?? false;
  }

  cells(box) {
    const keys = [];
    for (let across = Math.floor(box[0] / CELL); across <= Math.floor(box[2] / CELL); across += 1) {
      for (let down = Math.floor(box[1] / CELL); down <= Math.floor(box[3] / CELL); down += 1) keys.push(cellKey(across, down));
    }
    return keys;
  }
}

function cellKey(across, down) {
  return across * 4096 + down;
}

function boxesMeet(a, b) {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}
