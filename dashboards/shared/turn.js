// Turns pictures: one onto another, and into its frame.

const TURNS = 60;
// A picture is only turned again if it gains this much, so that it stays recognizable.
const GAIN = 1.2;

/**
 * @typedef {import("../types.js").Places} Places
 * @typedef {[number, number, number, number]} Box left, right, low, high
 * @typedef {[number, number]} Frame width and height
 */

/**
 * The view, turned and mirrored about its middle to match the reference best.
 * @template {Places} V
 * @param {V} view
 * @param {Places} reference
 * @returns {V}
 */
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

/**
 * The bounds of points turned by an angle; points without a place are ignored.
 * @param {Places} places
 * @param {number} angle
 * @returns {Box}
 */
export function boundsOf({ x, y }, angle = 0) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  /** @type {Box} */
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

/**
 * Pixels for each unit, so that bounds fill a frame at one scale.
 * @param {Box} bounds
 * @param {Frame} frame
 */
export function scaleInto([left, right, low, high], [width, height]) {
  return Math.min(width / Math.max(right - left, 1e-6), height / Math.max(high - low, 1e-6));
}

/**
 * The angle at which points fill a frame best, at one scale: axes have no meaning, so any
 * angle is valid. One close to `start` (or `start` itself) is preferred if it is nearly as good.
 * @param {Places} points
 * @param {Frame} frame
 * @param {number | null} start
 */
export function bestTurn(points, frame, start = null) {
  const from = start ?? 0;
  /** @param {number} angle */
  const fit = (angle) => scaleInto(boundsOf(points, angle), frame);
  let [best, most] = [from, fit(from) * (start === null ? 1 : GAIN)];
  for (let turn = 1; turn < TURNS; turn += 1) {
    // From small turns to large ones, in both directions.
    const angle = from + ((turn % 2 ? 1 : -1) * Math.ceil(turn / 2) * Math.PI) / TURNS;
    const found = fit(angle);
    if (found > most * 1.01) [best, most] = [angle, found];
  }
  return best;
}
