// Pictures from neighbors: a t-SNE in which each of a point's k neighbors has the same weight.

const SCHEDULE = { tsne: [[4, 80], [1, 220]], graph: [[4, 60], [2, 200]] };
const SLOW = 1200;

/**
 * Positions of n points from their k nearest neighbors, starting from `start` ({x, y}): exact
 * gradient descent of KL(p || q) with equal p for all neighbors and Student's t for q. "graph" keeps the
 * attraction twice as strong, which brings out the graph's branches and hubs.
 * @param {import("../types.js").View} start
 * @param {number} n
 * @param {number} k
 * @param {"tsne" | "graph"} kind
 * @returns {import("../types.js").Places}
 */
export function layoutNeighbors({ near, x, y }, n, k, kind) {
  const edges = joinNeighbors(near, n, k);
  const place = new Float64Array(2 * n);
  let reach = 1e-9;
  for (let i = 0; i < n; i += 1) reach = Math.max(reach, Math.abs(x[i]), Math.abs(y[i]));
  for (let i = 0; i < n; i += 1) {
    place[2 * i] = x[i] / reach;
    place[2 * i + 1] = y[i] / reach;
  }
  const speed = new Float64Array(2 * n);
  const force = new Float64Array(2 * n);
  for (const [attraction, rounds] of SCHEDULE[kind]) {
    const steps = n > SLOW ? Math.round(rounds / 3) : rounds;
    for (let round = 0; round < steps; round += 1) descend(place, speed, force, edges, n, attraction);
  }
  return fillSquare(place, n);
}

/**
 * Edges [i, j, weight]; one that goes both ways has twice the weight. All weights sum to 1.
 * @param {Uint16Array} near
 * @param {number} n
 * @param {number} k
 */
function joinNeighbors(near, n, k) {
  const weights = new Map();
  for (let i = 0; i < n; i += 1) {
    for (let at = 0; at < k; at += 1) {
      const j = near[i * k + at];
      const key = i < j ? i * n + j : j * n + i;
      weights.set(key, (weights.get(key) ?? 0) + 1);
    }
  }
  return [...weights].map(([key, weight]) => [Math.floor(key / n), key % n, weight / (n * k)]);
}

/**
 * @param {Float64Array} place
 * @param {Float64Array} speed
 * @param {Float64Array} force
 * @param {number[][]} edges
 * @param {number} n
 * @param {number} attraction
 */
function descend(place, speed, force, edges, n, attraction) {
  force.fill(0);
  let total = 0;
  for (let i = 0; i < n; i += 1) {
    let fx = 0;
    let fy = 0;
    const xi = place[2 * i];
    const yi = place[2 * i + 1];
    for (let j = i + 1; j < n; j += 1) {
      const dx = xi - place[2 * j];
      const dy = yi - place[2 * j + 1];
      const q = 1 / (1 + dx * dx + dy * dy);
      total += 2 * q;
      const push = q * q;
      fx += push * dx;
      fy += push * dy;
      force[2 * j] -= push * dx;
      force[2 * j + 1] -= push * dy;
    }
    force[2 * i] += fx;
    force[2 * i + 1] += fy;
  }
  for (let at = 0; at < 2 * n; at += 1) force[at] /= -total;
  for (const [i, j, weight] of edges) {
    const dx = place[2 * i] - place[2 * j];
    const dy = place[2 * i + 1] - place[2 * j + 1];
    // Each edge represents both of its directions, which together weigh `weight`.
    const pull = ((attraction * weight) / 2) / (1 + dx * dx + dy * dy);
    force[2 * i] += pull * dx;
    force[2 * i + 1] += pull * dy;
    force[2 * j] -= pull * dx;
    force[2 * j + 1] -= pull * dy;
  }
  const rate = Math.max(n / 16, 40);
  for (let at = 0; at < 2 * n; at += 1) {
    speed[at] = 0.8 * speed[at] - 4 * rate * force[at];
    place[at] += Math.max(-2, Math.min(2, speed[at]));
  }
}

/**
 * @param {Float64Array} place
 * @param {number} n
 */
function fillSquare(place, n) {
  const middle = [0, 1].map((axis) => {
    let sum = 0;
    for (let i = 0; i < n; i += 1) sum += place[2 * i + axis];
    return sum / n;
  });
  let reach = 1e-9;
  for (let at = 0; at < 2 * n; at += 1) reach = Math.max(reach, Math.abs(place[at] - middle[at % 2]));
  /** @param {number} first */
  const axis = (first) => Float32Array.from({ length: n }, (_, i) => (place[2 * i + first] - middle[first]) / reach);
  return { x: axis(0), y: axis(1) };
}
