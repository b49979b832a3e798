// Which two representations a comparison offers.

const MOST_RUNS = 200;

/** Pairs that are offered by a press: words, and how to find [a, b] from a snapshot; null where there is none. */
export const PAIRS = [
  ["Nearest good run", "This representation and its nearest good landmark: the same layer, the same step", nearestGood],
  ["First and last step", "The same layer of this run at its first and its last step", firstAndLast],
  ["Good runs that differ most", "The two good runs whose last representations of this layer are furthest apart", furthestGood],
];

/** What is compared before anything is chosen. */
export function firstPair(bench, row) {
  return nearestGood(bench, row) ?? firstAndLast(bench, row);
}

/** How a snapshot is written in the address. */
export function pinName(scene, row) {
  return JSON.stringify([scene.runOf(row), scene.layerOf(row), scene.snapshots.step[row]]);
}

function isGood(scene, row) {
  return scene.outcomes[scene.snapshots.run[row]] === "good";
}

function nearestGood({ scene }, row) {
  const found = scene.nearestLandmarks(row, scene.runs.length).find((landmark) => isGood(scene, landmark.row));
  return found ? [row, found.row] : null;
}

function firstAndLast({ scene }, row) {
  const rows = scene.trajectory(scene.runOf(row), scene.layerOf(row));
  return rows.length > 1 ? [rows[0], rows.at(-1)] : null;
}

function furthestGood({ scene }, row) {
  const layer = scene.layerOf(row);
  const rows = scene.page.trajectories
    .filter((trajectory) => trajectory.layer === layer && isGood(scene, trajectory.snapshots[0]))
    .map(({ snapshots }) => snapshots.at(-1))
    .slice(-MOST_RUNS);
  let [best, most] = [null, -1];
  for (const [at, first] of rows.entries()) {
    const distances = scene.distancesTo(first);
    for (const second of rows.slice(at + 1)) if (distances[second] > most) [best, most] = [[first, second], distances[second]];
  }
  return best;
}
