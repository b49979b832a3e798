// Keys by which rows, maps and runs are found.

/**
 * Indices by value: a Map from each value to the indices that have it.
 * @param {number[]} values
 */
export function groupRows(values) {
  /** @type {Map<number, number[]>} */
  const groups = new Map();
  values.forEach((value, row) => {
    const group = groups.get(value);
    if (group) group.push(row);
    else groups.set(value, [row]);
  });
  return groups;
}

/**
 * @param {string} method
 * @param {string} distance
 * @param {string[] | null} layers
 */
export function mapKey(method, distance, layers) {
  return JSON.stringify([method, distance, layers && [...layers].sort()]);
}

/**
 * The group that a run belongs to: its cause, else "good", "bad" or "unlabeled".
 * @param {import("../types.js").RunRow} run
 */
export function outcomeOf({ label, cause }) {
  if (label === "bad") return cause ?? "bad";
  return label ?? "unlabeled";
}
