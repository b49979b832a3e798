// Which two representations a comparison offers.

const MOST_RUNS = 200;

/**
 * @typedef {import("../document/scene.js").Scene} Scene
 * @typedef {(scene: Scene, row: number) => [number, number] | null} Find
 */

/**
 * Pairs that buttons offer: label, hint, and how to find [a, b] from a snapshot; null if there is none.
 * @type {[string, string, Find][]}
 */
export const PAIRS = [
  ["Nearest good run", "This representation and its nearest good landmark: the same layer, the same step", nearestGood],
  ["First and last step", "The same layer of this run at its first and its last step", firstAndLast],
  ["Good runs that differ most", "The two good runs whose last representations of this layer are furthest apart", furthestGood],
];

/**
 * What is compared before anything is chosen.
 * @type {Find}
 */
export function firstPair(scene, row) {
  return nearestGood(scene, row) ?? firstAndLast(scene, row);
}

/**
 * How a snapshot is written in the address.
 * @param {Scene} scene
 * @param {number} row
 */
export function pinName(scene, row) {
  return JSON.stringify([scene.runOf(row), scene.layerOf(row), scene.snapshots.step[row]]);
}

/**
 * @param {Scene} scene
 * @param {number} row
 */
function isGood(scene, row) {
  return scene.outcomes[scene.snapshots.run[row]] === "good";
}

/** @type {Find} */
function nearestGood(scene, row) {
  const found = scene.nearestLandmarks(row, scene.runs.length).find((landmark) => isGood(scene, landmark.row));
  return found ? [row, found.row] : null;
}

/** @type {Find} */
function firstAndLast(scene, row) {
  const rows = scene.trajectory(scene.runOf(row), scene.layerOf(row));
  return rows.length > 1 ? [rows[0], rows[rows.length - 1]] : null;
}

/** @type {Find} */
function furthestGood(scene, row) {
  const layer = scene.layerOf(row);
  const rows = scene.page.trajectories
    .filter((trajectory) => trajectory.layer === layer && isGood(scene, trajectory.snapshots[0]))
    .flatMap(({ snapshots }) => snapshots.slice(-1))
    .slice(-MOST_RUNS);
  /** @type {[number, number] | null} */
  let best = null;
  let most = -1;
  for (const [at, first] of rows.entries()) {
    const distances = scene.distancesTo(first);
    for (const second of rows.slice(at + 1)) {
      const far = distances[second] ?? -1;
      if (far > most) [best, most] = [[first, second], far];
    }
  }
  return best;
}

/**
 * The snapshot that the address names, or -1.
 * @param {Scene} scene
 * @param {string} text
 */
export function readPin(scene, text) {
  try {
    const [run, layer, step] = JSON.parse(text || "[]");
    return run === undefined ? -1 : scene.find(run, layer, step);
  } catch {
    return -1;
  }
}
