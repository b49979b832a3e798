// What the map is colored by, and which of its values are filtered out.

import { outcomeScale, scaleOf } from "../shared/colors.js";

// A filter by one of these applies to the other runs; the followed one stays.
const OF_RUNS = new Set(["outcome", "label", "run", "setting"]);

/**
 * [value, words] of every color that a map can have.
 * @param {import("../document/scene.js").Scene} scene
 */
export function mapColors(scene) {
  const { runs, page } = scene;
  const settings = [...new Set(runs.flatMap((run) => Object.keys(run.hparams)))].filter((name) => new Set(runs.map((run) => String(run.hparams[name]))).size > 1);
  return [
    ["outcome", "cause"],
    ["label", "label"],
    ["run", "run"],
    ["layer", "layer"],
    ["step", "step"],
    ["epoch", "epoch"],
    ["distance", `distance to selection (${page.distances.name})`],
    ...settings.map((name) => [`setting ${name}`, name]),
    ...Object.keys(page.values).map((name) => [`value ${name}`, name]),
  ];
}

/**
 * The scale of a color, one value for each snapshot.
 * @param {import("../document/scene.js").Scene} scene
 * @param {string} color
 * @param {number} selected
 * @param {boolean} dark
 */
export function mapScale(scene, color, selected, dark) {
  const { snapshots, runs, layers } = scene;
  /** @type {<T>(pick: (row: number) => T) => T[]} */
  const rows = (pick) => Array.from({ length: scene.count }, (_, row) => pick(row));
  const [kind, ...rest] = color.split(" ");
  const name = rest.join(" ");
  if (kind === "label") return outcomeScale(rows((row) => runs[snapshots.run[row]].label ?? "unlabeled"), dark);
  if (kind === "run") return scaleOf(rows((row) => scene.runOf(row)), dark, { order: runs.map((run) => run.name) });
  if (kind === "layer") return scaleOf(rows((row) => scene.layerOf(row)), dark, { order: layers });
  if (kind === "step" || kind === "epoch") return scaleOf(snapshots[kind], dark, { numbers: true });
  if (kind === "distance") return scaleOf(scene.distancesTo(selected), dark, { numbers: true });
  if (kind === "setting") return scaleOf(rows((row) => runs[snapshots.run[row]].hparams[name] ?? null), dark);
  if (kind === "value") {
    const numbers = (scene.page.values[name] ?? []).map((value) => (typeof value === "number" ? value : null));
    return scaleOf(numbers, dark, { numbers: true });
  }
  return outcomeScale(rows((row) => scene.outcomes[snapshots.run[row]]), dark);
}

/**
 * The name of a filter in the address: a value of a color.
 * @param {string} color
 * @param {string} value
 */
export function filterName(color, value) {
  return JSON.stringify([color, value]);
}

/**
 * Filters from the address: {color, hidden: names} for each color that has some.
 * @param {string[]} texts
 */
export function readFilters(texts) {
  const groups = new Map();
  for (const text of texts) {
    const [color, value] = parsed(text);
    if (color === undefined) continue;
    if (!groups.has(color)) groups.set(color, new Set());
    groups.get(color).add(value);
  }
  return [...groups].map(([color, hidden]) => ({ color, hidden, ofRuns: OF_RUNS.has(color.split(" ")[0]) }));
}

/** @param {string} text */
function parsed(text) {
  try {
    const pair = JSON.parse(text);
    return Array.isArray(pair) ? pair.map(String) : [];
  } catch {
    return [];
  }
}
