// The comparisons of last snapshots that a report contains.

import { shorts } from "./unpack.js";

const GRID = 65535;

/**
 * The comparison of the last snapshots (i, j) in a report; null if it has none.
 * @param {import("../types.js").Comparisons} comparisons
 * @param {number} i
 * @param {number} j
 * @returns {import("../types.js").Comparison | null}
 */
export function compared(comparisons, i, j) {
  if (i < 0 || j < 0 || i === j) return null;
  const size = comparisons.snapshots.length;
  const [low, high] = [Math.min(i, j), Math.max(i, j)];
  const place = size * low - (low * (low + 1)) / 2 + high - low - 1;
  /** @param {string} text */
  const share = (text) => {
    const value = shorts(text)[place];
    return value === 0 ? null : (value - 1) / (GRID - 1);
  };
  const measures = Object.fromEntries(
    Object.entries(comparisons.measures).map(([name, text]) => {
      const found = share(text);
      return [name, found === null ? null : found * 2 - 1];
    }),
  );
  const { scale, rows } = comparisons.euclidean;
  const far = share(rows);
  const tested = comparisons.mantel.find(([x, y]) => (x === i && y === j) || (x === j && y === i));
  const mantel = tested ? { r: measures.pearson, p: tested[2], permutations: comparisons.permutations } : null;
  return { measures, euclidean: far === null ? null : far * scale, mantel };
}
