// How far points lie along the direction from some points towards others.

/**
 * The place of each point of a picture along the direction from the middle of the points `a` (at -1) to the middle of
 * the points `b` (at 1); null if the two coincide.
 * @param {import("../types.js").Places} picture
 * @param {number[]} a
 * @param {number[]} b
 * @returns {number[] | null}
 */
export function placesAlong({ x, y }, a, b) {
  /** @param {number[]} points */
  const middle = (points) => [x, y].map((axis) => points.reduce((sum, point) => sum + axis[point], 0) / points.length);
  const [start, end] = [middle(a), middle(b)];
  const [dx, dy] = [end[0] - start[0], end[1] - start[1]];
  const square = dx * dx + dy * dy;
  if (!(square > 1e-12)) return null;
  return Array.from(x, (_, point) => (2 * ((x[point] - start[0]) * dx + (y[point] - start[1]) * dy)) / square - 1);
}

/**
 * The two values whose points most often became each other's neighbors, or ceased to be.
 * @param {{ key: string, a: number, b: number }[]} changes by "low high", as in `mixedPairs`, most changed first
 * @param {number} count how many values there are
 * @returns {[number, number]}
 */
export function usualEnds(changes, count) {
  const [low, high] = changes.length > 0 ? changes[0].key.split(" ").map(Number) : [0, Math.min(1, count - 1)];
  return [low, high];
}
