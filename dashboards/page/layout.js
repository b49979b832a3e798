// Pictures from neighbors: a t-SNE in which each of a point's k neighbors has the same weight; the turning
// of one picture onto another, and into its frame.

const SCHEDULE = { tsne: [[4, 80], [1, 220]], graph: [[4, 60], [2, 200]] };
const SLOW = 1200;
const TURNS = 60;
// A picture is only turned again if it gains this much, so that it stays recognizable.
const GAIN = 1.2;

/**
 * Positions of n points from their k nearest neighbors, starting from `start` ({x, y}): exact
 * gradient descent of KL(p || q) with equal p for all neighbors and Student's t for q. "graph" retains
 * the attraction twice as strong, which draws the graph's branches and hubs.
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

/** Edges [i, j, weight]; one that goes both ways weighs double. All weights sum to 1. */
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

function fillSquare(place, n) {
  const middle = [0, 1].map((axis) => {
    let sum = 0;
    for (let i = 0; i < n; i += 1) sum += place[2 * i + axis];
    return sum / n;
  });
  let reach = 1e-9;
  for (let at = 0; at < 2 * n; at += 1) reach = Math.max(reach, Math.abs(place[at] - middle[at % 2]));
  const axis = (first) => Float32Array.from({ length: n }, (_, i) => (place[2 * i + first] - middle[first]) / reach);
  return { x: axis(0), y: axis(1) };
}

/** The view turned and mirrored, about its middle, to lie best on the reference. */
export function turnOnto(view, reference) {
  const n = view.x.length;
  let [xx, xy, yx, yy] = [0, 0, 0, 0];
  for (let i = 0; i < n; i += 1) {
    xx += view.x[i] * reference.x[i];
    xy += view.x[i] * reference.y[i];
    yx += view.y[i] * reference.x[i];
    yy += view.y[i] * reference.y[i];
  }
  // Of all turns, and all turns of the mirror image, the ones with the largest inner product.
  const straight = Math.hypot(xx + yy, xy - yx);
  const mirrored = Math.hypot(xx - yy, xy + yx);
  const mirror = mirrored > straight ? -1 : 1;
  const [cos, sin] = mirror > 0 ? [xx + yy, xy - yx] : [xx - yy, xy + yx];
  const size = Math.hypot(cos, sin) || 1;
  const [c, s] = [cos / size, sin / size];
  const x = Float32Array.from(view.x, (value, i) => c * value - mirror * s * view.y[i]);
  const y = Float32Array.from(view.x, (value, i) => s * value + mirror * c * view.y[i]);
  // Other properties are computed on access.
  return Object.assign(Object.create(view), { x, y });
}

/** The bounds [left, right, low, high] of points turned by an angle; points without a place are ignored. */
export function boundsOf({ x, y }, angle = 0) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const bounds = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < x.length; i += 1) {
    if (!Number.isFinite(x[i])) continue;
    const [u, v] = [cos * x[i] - sin * y[i], sin * x[i] + cos * y[i]];
    if (u < bounds[0]) bounds[0] = u;
    if (u > bounds[1]) bounds[1] = u;
    if (v < bounds[2]) bounds[2] = v;
    if (v > bounds[3]) bounds[3] = v;
  }
  return bounds[0] <= bounds[1] ? bounds : [0, 1, 0, 1];
}

/** Pixels for each unit, so that bounds fill a frame of [width, height] at one scale. */
export function scaleInto([left, right, low, high], [width, height]) {
  return Math.min(width / Math.max(right - left, 1e-6), height / Math.max(high - low, 1e-6));
}

/**
 * The angle at which points fill a frame of [width, height] best, at one scale: axes have no meaning,
 * so any turn is as true. One close to `start` (or `start` itself) is taken where it is nearly as good.
 */
export function bestTurn(points, frame, start = null) {
  const from = start ?? 0;
  const fit = (angle) => scaleInto(boundsOf(points, angle), frame);
  let [best, most] = [from, fit(from) * (start === null ? 1 : GAIN)];
  for (let turn = 1; turn < TURNS; turn += 1) {
    // From small turns to large ones, to both sides.
    const angle = from + ((turn % 2 ? 1 : -1) * Math.ceil(turn / 2) * Math.PI) / TURNS;
    const found = fit(angle);
    if (found > most * 1.01) [best, most] = [angle, found];
  }
  return best;
}
