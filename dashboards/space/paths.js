// The path of a run across the map: a smooth line through its snapshots, dotted where it jumps between islands.

// A step that is longer than this share of the map is a jump.
const FURTHEST = 0.2;
const PIECES = 6;

/**
 * The pieces of a path through places [x, y]: {points, jump, at}, where `at` is the place that a piece leads to.
 * @param {number[][]} places
 * @param {number} scale
 */
export function piecesOf(places, scale) {
  const jumps = places.slice(1).map(([x, y], at) => Math.hypot(x - places[at][0], y - places[at][1]) > FURTHEST * scale);
  return jumps.map((jump, at) => {
    const [from, to] = [places[at], places[at + 1]];
    if (jump) return { points: [from, to], jump, at: at + 1 };
    const before = at > 0 && !jumps[at - 1] ? places[at - 1] : from;
    const after = at + 2 < places.length && !jumps[at + 1] ? places[at + 2] : to;
    return { points: bend(before, from, to, after), jump, at: at + 1 };
  });
}

/**
 * A Catmull-Rom curve from b to c.
 * @param {number[]} a
 * @param {number[]} b
 * @param {number[]} c
 * @param {number[]} d
 */
function bend(a, b, c, d) {
  return Array.from({ length: PIECES + 1 }, (_, at) => {
    const t = at / PIECES;
    return [0, 1].map((axis) => {
      const [p, q, r, s] = [a[axis], b[axis], c[axis], d[axis]];
      return 0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t * t * t);
    });
  });
}
