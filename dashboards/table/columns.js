// The runs of a page as columns: what a person compares runs by, one value for each run.

/**
 * @typedef {import("../document/scene.js").Scene} Scene
 * @typedef {import("../types.js").Value} Value
 */

const DEVIATION = "deviation";
// The names that loggers give a run say nothing about it.
const LOGGERS = "repwatch.logger.";

/**
 * Columns {key, name, words, numeric, values} of a scene's runs; `words` explains the name, and null is a value that a
 * run does not have. Hyperparameters and outcomes are columns only if they differ between runs.
 * @param {import("../document/scene.js").Scene} scene
 */
export function columnsOf(scene) {
  const { runs, page } = scene;
  /**
   * @param {string} key
   * @param {string} name
   * @param {Value[]} values
   */
  const column = (key, name, values, words = name) => ({ key, name, words, values, numeric: isNumeric(values), dots: key === "outcome" });
  const metrics = page.metric === null ? [] : [page.metric];
  return [
    column("name", "run", runs.map((run) => run.name)),
    column("outcome", "outcome", runs.map((run) => run.label ?? "unlabeled")),
    column("cause", "cause", runs.map((run) => run.cause)),
    column("status", "status", runs.map((run) => run.status)),
    ...metrics.map((name) => column("metric", name, runs.map((run) => run.metrics[name] ?? null), `last ${name}`)),
    column("flags", "flags", flagsByRun(scene)),
    ...(page.strip.kind === "good"
      ? [column(DEVIATION, DEVIATION, furthest(scene), "Largest deviation of any layer from good runs at the last step, in units of their spread")]
      : []),
    ...varyingSettings(runs, page.settings).map(([name, values]) => column(`setting ${name}`, name, values)),
  ].filter(({ key, values }) => key === "name" || values.some((value) => value !== null));
}

/**
 * [name, values] of hyperparameters that differ between runs, equal columns once; the most descriptive ones first.
 * @param {import("../types.js").RunRow[]} runs
 * @param {string[]} first
 */
function varyingSettings(runs, first) {
  const every = new Set(runs.flatMap((run) => Object.keys(run.hparams)));
  const names = [...first.filter((name) => every.has(name)), ...[...every].filter((name) => !first.includes(name) && !name.startsWith(LOGGERS))];
  const known = new Set();
  /** @type {[string, Value[]][]} */
  const courses = names.map((name) => [name, runs.map((run) => run.hparams[name] ?? null)]);
  return courses.filter(([, values]) => {
    const text = JSON.stringify(values);
    const fresh = !known.has(text) && values.some((value) => value !== values[0]);
    known.add(text);
    return fresh;
  });
}

/** @param {Scene} scene */
function flagsByRun({ runs, page }) {
  const counts = new Map();
  for (const { run } of page.flags) counts.set(run, (counts.get(run) ?? 0) + 1);
  return runs.map(({ name }) => counts.get(name) ?? 0);
}

/**
 * For each run the largest value of the strip at its last step.
 * @param {Scene} scene
 */
function furthest({ runs, snapshots, page }) {
  const last = new Array(runs.length).fill(-1);
  /** @type {(number | null)[]} */
  const most = new Array(runs.length).fill(null);
  snapshots.step.forEach((step, row) => {
    const run = snapshots.run[row];
    if (step > last[run]) [last[run], most[run]] = [step, null];
    const value = page.strip.values[row];
    if (step === last[run] && value !== null) most[run] = Math.max(value, most[run] ?? -Infinity);
  });
  return most;
}

/** @param {unknown[]} values */
function isNumeric(values) {
  return values.some((value) => typeof value === "number") && values.every((value) => value === null || typeof value === "number");
}
