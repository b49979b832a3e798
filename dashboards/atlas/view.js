// Where points are: the view of the plane, and a grid that finds the point under the pointer.

export const SIDE = 65536;
const CELLS = 256;

/** The visible part of the plane: its center in steps, and the zoom. */
export class View {
  width = 1;
  height = 1;
  x = SIDE / 2;
  y = SIDE / 2;
  zoom = 1;

  home() {
    Object.assign(this, { x: SIDE / 2, y: SIDE / 2, zoom: 1 });
  }

  /** The visible part as text, for the address; "" if everything is visible. */
  get text() {
    const { x, y, zoom } = this;
    if (zoom === 1 && x === SIDE / 2 && y === SIDE / 2) return "";
    return [Math.round(x), Math.round(y), zoom.toPrecision(4)].join(" ");
  }

  /** Shows the part that a text describes; everything if it describes none. */
  read(text) {
    const [x, y, zoom] = text.split(/[ ,]/).map(Number);
    if ([x, y].every(Number.isFinite) && zoom > 0) Object.assign(this, { x, y, zoom: Math.min(Math.max(zoom, 0.5), 400) });
    else this.home();
  }

  get scale() {
    return (this.zoom * 0.94 * Math.min(this.width, this.height)) / SIDE;
  }

  /** @returns {[number, number]} */
  toScreen(x, y) {
    const { scale } = this;
    return [(x - this.x) * scale + this.width / 2, (this.y - y) * scale + this.height / 2];
  }

  toPlane(px, py) {
    const { scale } = this;
    return [(px - this.width / 2) / scale + this.x, this.y - (py - this.height / 2) / scale];
  }

  pan(dx, dy) {
    this.x = Math.min(Math.max(this.x - dx / this.scale, 0), SIDE);
    this.y = Math.min(Math.max(this.y + dy / this.scale, 0), SIDE);
  }

  /** Moves so that a place in the plane is visible, if it is not. */
  reveal(x, y) {
    const [px, py] = this.toScreen(x, y);
    if (px < 0 || py < 0 || px > this.width || py > this.height) Object.assign(this, { x, y });
  }

  /** Zooms so that the place under (px, py) stays there. */
  zoomAt(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toPlane(px, py);
    this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), 400);
    const [nx, ny] = this.toPlane(px, py);
    this.x += x - nx;
    this.y += y - ny;
  }
}

/** Points by cell of a grid. */
export class Grid {
  constructor(x, y) {
    this.px = x;
    this.py = y;
    const size = SIDE / CELLS;
    const place = (i) => Math.floor(y[i] / size) * CELLS + Math.floor(x[i] / size);
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    for (let i = 0; i < x.length; i += 1) this.starts[place(i) + 1] += 1;
    for (let c = 0; c < CELLS * CELLS; c += 1) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.points = new Uint32Array(x.length);
    for (let i = 0; i < x.length; i += 1) {
      const cellIndex = place(i);
      this.points[next[cellIndex]] = i;
      next[cellIndex] += 1;
    }
  }

  /** How many points lie in a box of the plane. */
  count(left, bottom, right, top) {
    const size = SIDE / CELLS;
    const clamp = (value) => Math.min(Math.max(Math.floor(value / size), 0), CELLS - 1);
    let found = 0;
    for (let row = clamp(bottom); row <= clamp(top); row += 1) {
      const from = this.starts[row * CELLS + clamp(left)];
      const to = this.starts[row * CELLS + clamp(right) + 1];
      for (let at = from; at < to; at += 1) {
        const i = this.points[at];
        found += Number(this.px[i] >= left && this.px[i] <= right && this.py[i] >= bottom && this.py[i] <= top);
      }
    }
    return found;
  }

  /** The point nearest to (x, y) within `radius` steps that `passes` accepts, or -1. */
  nearest(x, y, radius, passes) {
    const size = SIDE / CELLS;
    const clamp = (value) => Math.min(Math.max(Math.floor(value / size), 0), CELLS - 1);
    let best = -1;
    let least = radius * radius;
    for (let row = clamp(y - radius); row <= clamp(y + radius); row += 1) {
      const from = this.starts[row * CELLS + clamp(x - radius)];
      const to = this.starts[row * CELLS + clamp(x + radius) + 1];
      for (let at = from; at < to; at += 1) {
        const i = this.points[at];
        const distance = (this.px[i] - x) ** 2 + (this.py[i] - y) ** 2;
        if (distance <= least && passes(i)) {
          least = distance;
          best = i;
        }
      }
    }
    return best;
  }
}
