// The parsed document of a page: columns as arrays, views of representations on demand.

import { euclidean, mantelTest, measuresOf } from "./similarity.js";
import { compared } from "./compared.js";
import { groupRows, mapKey, outcomeOf } from "./keys.js";
import { bytesOf, inflate, shorts, unpackExcerpts, unpackViews } from "./unpack.js";

const PAGE_VERSION = 5;
const GRID = 65535;

/**
 * @typedef {import("../types.js").Whole} Whole
 * @typedef {import("../types.js").Source} Source
 * @typedef {import("../types.js").View} View
 * @typedef {import("../types.js").SnapshotMap} SnapshotMap
 * @typedef {import("../types.js").Comparison} Comparison
 */

/**
 * `whole` has page and points, and in a report also streams, excerpted and comparisons. A live page requests the rest
 * from `source`: views(run, layer), map(method, distance, layers) and compare(id, id), each of which returns a promise.
 */
export class Scene {
  /** @type {Map<number, View[] | Promise<View[]>>} pictures by trajectory */
  #views = new Map();
  /** @type {Map<number, Float64Array[]>} */
  #excerpts = new Map();
  /** @type {Map<number, number[]> | null} */
  #rowsByRun = null;
  /** @type {Map<number, { count: number, shown: number }> | null} */
  #repeats = null;
  /** @type {Int16Array | null} */
  #components = null;

  /**
   * @param {Whole} whole
   * @param {Source | null} source
   */
  constructor(whole, source = null) {
    const { page } = whole;
    if (page.version !== PAGE_VERSION || page.kind !== "page") {
      throw new Error(
        `This document is ${page.kind} version ${page.version}, but the page reads version ${PAGE_VERSION}. ` +
          "Create it again with the installed RepWatch.",
      );
    }
    this.page = page;
    this.points = whole.points;
    /** A new version of the document has a new stamp. */
    this.stamp = whole.stamp ?? "";
    this.streams = whole.streams ?? [];
    this.excerpted = whole.excerpted ?? [];
    this.comparisons = whole.comparisons ?? null;
    this.source = source;
    this.runs = page.runs;
    this.layers = page.layers;
    this.snapshots = page.snapshots;
    this.count = page.snapshots.step.length;
    this.k = page.neighbors;
    this.n = page.points;
    this.maps = new Map(page.maps.map((map) => [mapKey(map.method, map.distance, map.layers), this.readMap(map)]));
    /** @type {Map<number, [number, number]>} the trajectory of each snapshot, and its place in it */
    this.trajectoryOf = new Map();
    page.trajectories.forEach((trajectory, index) =>
      trajectory.snapshots.forEach((row, place) => this.trajectoryOf.set(row, [index, place])),
    );
    this.outcomes = this.runs.map(outcomeOf);
  }

  /**
   * Keeps the pictures of trajectories that have not grown since they were read.
   * @param {Scene} before
   */
  inherit(before) {
    /** @param {import("../types.js").Trajectory} trajectory */
    const key = ({ run, layer, snapshots }) => JSON.stringify([run, layer, snapshots.length]);
    const known = new Map(before.page.trajectories.map((trajectory, index) => [key(trajectory), index]));
    this.page.trajectories.forEach((trajectory, index) => {
      const held = before.#views.get(known.get(key(trajectory)) ?? -1);
      if (held) this.#views.set(index, held);
    });
  }

  /** @param {number} row */
  runOf(row) {
    return this.runs[this.snapshots.run[row]].name;
  }

  /** @param {number} row */
  layerOf(row) {
    return this.layers[this.snapshots.layer[row]];
  }

  /**
   * The snapshot of a run and layer at a step, or the last before it, or the first; -1 for none.
   * @param {string} run
   * @param {string} layer
   * @param {number} step
   */
  find(run, layer, step) {
    const trajectory = this.page.trajectories.find((candidate) => candidate.run === run && candidate.layer === layer);
    if (!trajectory) return -1;
    const { snapshots } = trajectory;
    return snapshots.findLast((row) => this.snapshots.step[row] <= step) ?? snapshots[0];
  }

  /**
   * The snapshots of a layer of a run, by step.
   * @param {string} run
   * @param {string} layer
   */
  trajectory(run, layer) {
    return this.page.trajectories.find((trajectory) => trajectory.run === run && trajectory.layer === layer)?.snapshots ?? [];
  }

  /**
   * Steps of a run, ascending.
   * @param {string} run
   */
  stepsOf(run) {
    const steps = this.page.trajectories
      .filter((trajectory) => trajectory.run === run)
      .flatMap((trajectory) => trajectory.snapshots.map((row) => this.snapshots.step[row]));
    return [...new Set(steps)].sort((a, b) => a - b);
  }

  /**
   * Every snapshot of a layer of a run by step, including diverged ones.
   * @param {string} run
   * @param {string} layer
   */
  everyRow(run, layer) {
    return this.rowsOf(run).filter((row) => this.layerOf(row) === layer);
  }

  /**
   * Every snapshot of a run.
   * @param {string} run
   */
  rowsOf(run) {
    this.#rowsByRun ??= groupRows(this.snapshots.run);
    return this.#rowsByRun.get(this.runs.findIndex((candidate) => candidate.name === run)) ?? [];
  }

  /**
   * Steps of a run, ascending, including those at which it had diverged.
   * @param {string} run
   */
  allStepsOf(run) {
    return [...new Set(this.rowsOf(run).map((row) => this.snapshots.step[row]))].sort((a, b) => a - b);
  }

  /**
   * The snapshot of a run whose step is nearest to this one, of this layer or of any layer; -1 for none.
   * @param {string} run
   * @param {number} step
   * @param {string | null} layer
   */
  rowAt(run, step, layer = null) {
    /** @param {number} row */
    const away = (row) => Math.abs(this.snapshots.step[row] - step);
    return this.rowsOf(run)
      .filter((row) => layer === null || (this.layerOf(row) === layer && !this.snapshots.diverged[row]))
      .reduce((best, row) => (best < 0 || away(row) < away(best) ? row : best), -1);
  }

  /**
   * The nearest snapshots of labeled runs, of the same layer at the same step: {row, distance}.
   * @param {number} row
   * @param {number} most
   * @param {(run: number) => boolean} shown
   */
  nearestLandmarks(row, most, shown = (_run) => true) {
    const [layer, step] = [this.layerOf(row), this.snapshots.step[row]];
    const distances = this.distancesTo(row);
    return this.runs
      .filter((run, index) => run.label !== null && run.name !== this.runOf(row) && shown(index))
      .map((run) => this.rowAt(run.name, step, layer))
      .filter((other) => other >= 0)
      .flatMap((other) => (distances[other] === null ? [] : [{ row: other, distance: distances[other] }]))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, most);
  }

  /**
   * Whether a snapshot is the last of its trajectory.
   * @param {number} row
   */
  isLast(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    return index >= 0 && place === this.page.trajectories[index].snapshots.length - 1;
  }

  /** Layers that are equal in all snapshots, such as the input: {count, shown} by layer; `shown` is the one to draw. */
  get repeated() {
    if (this.#repeats) return this.#repeats;
    this.#repeats = new Map();
    for (const [layer, every] of groupRows(this.snapshots.layer)) {
      const rows = every.filter((row) => !this.snapshots.diverged[row]);
      if (rows.length < 2 || !rows.every((row) => this.sameComponents(row, rows[0]))) continue;
      const shown = rows.findLast((row) => this.runOf(row) === this.page.current[0]) ?? rows[rows.length - 1];
      this.#repeats.set(layer, { count: rows.length, shown });
    }
    return this.#repeats;
  }

  /**
   * Whether a snapshot is hidden because an equal one is shown.
   * @param {number} row
   */
  isRepeated(row) {
    const equal = this.repeated.get(this.snapshots.layer[row]);
    return equal !== undefined && equal.shown !== row;
  }

  /**
   * How many snapshots the mark of this one stands for.
   * @param {number} row
   */
  standsFor(row) {
    return this.repeated.get(this.snapshots.layer[row])?.count ?? 1;
  }

  /**
   * @param {number} row
   * @param {number} other
   */
  sameComponents(row, other) {
    const { width } = this.page.distances;
    for (let at = 0; at < width; at += 1) if (this.components[row * width + at] !== this.components[other * width + at]) return false;
    return true;
  }

  /**
   * The snapshot before this one in its trajectory, or -1.
   * @param {number} row
   */
  before(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    return place > 0 ? this.page.trajectories[index].snapshots[place - 1] : -1;
  }

  /**
   * The picture of a snapshot if it has been read: {x, y, near}, x and y in [-1, 1].
   * @param {number} row
   */
  viewNow(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    const held = this.#views.get(index);
    return Array.isArray(held) ? held[place] : null;
  }

  /**
   * A promise of the picture of a snapshot; all pictures of its trajectory are read with it.
   * @param {number} row
   */
  async view(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    if (index < 0) throw new Error("This snapshot has diverged: its activations were NaN or infinite.");
    const known = this.#views.get(index) ?? this.read(index);
    this.#views.set(index, known);
    try {
      return (await known)[place];
    } catch (error) {
      this.#views.delete(index);
      throw error;
    }
  }

  /** @param {number} index */
  async read(index) {
    const trajectory = this.page.trajectories[index];
    const steps = trajectory.snapshots.map((row) => this.snapshots.step[row]);
    const views = this.stored(index, "views");
    const packed = views !== null ? { steps, views } : await this.source?.views(trajectory.run, trajectory.layer);
    if (!packed) throw new Error("This picture is not in the report.");
    const all = unpackViews(await inflate(packed.views), packed.steps.length, this.n, this.k);
    // A run that is being written may have grown since the document was made.
    const places = steps.map((step) => packed.steps.indexOf(step));
    if (places.includes(-1)) throw new Error("This run was rewritten. The page reloads it automatically.");
    const found = places.map((place) => all[place]);
    this.#views.set(index, found);
    return found;
  }

  /**
   * The packed views or excerpts of a trajectory in a report; equal trajectories share them.
   * @param {number} index
   * @param {"views" | "excerpts"} name
   */
  stored(index, name) {
    const place = this.page.trajectories[index][name];
    return place === null ? null : this.streams[place];
  }

  /** The method that a page begins with: t-SNE, or the first one in a report without it. */
  usualMethod() {
    const held = this.page.maps.map((map) => map.method);
    return this.source || held.length === 0 || held.includes("tsne") ? "tsne" : held[0];
  }

  /**
   * Which layers a map is made of, where some are switched off; null for all.
   * @param {string[]} off
   */
  chosenLayers(off) {
    const chosen = this.layers.filter((layer) => !off.includes(layer));
    return chosen.length === 0 || chosen.length === this.layers.length ? null : chosen;
  }

  /**
   * Whether a map is available; a report falls back to the map of all layers.
   * @param {string} method
   * @param {string} distance
   * @param {string[] | null} layers
   */
  hasMap(method, distance, layers = null) {
    return this.maps.has(mapKey(method, distance, layers)) || (!this.source && this.maps.has(mapKey(method, distance, null)));
  }

  /**
   * A map's positions for every snapshot, in [0, 1]; NaN where it has none.
   * @param {import("../types.js").MapRow} map
   */
  readMap(map) {
    /** @param {string} text */
    const scale = (text) => Float32Array.from(shorts(text), (value) => (value === 0 ? NaN : (value - 1) / (GRID - 1)));
    const [x, y] = [scale(map.x), scale(map.y)];
    if (!map.layers) return { ...map, x, y };
    const wanted = new Set(map.layers.map((layer) => this.layers.indexOf(layer)));
    const rows = this.snapshots.layer.flatMap((layer, row) => (wanted.has(layer) ? [row] : []));
    /** @param {Float32Array} values */
    const spread = (values) => {
      const every = new Float32Array(this.count).fill(NaN);
      rows.forEach((row, at) => (every[row] = values[at]));
      return every;
    };
    // Otherwise the registry has grown since the document was made, and the page will soon be read again.
    return rows.length === x.length ? { ...map, x: spread(x), y: spread(y) } : { ...map, x, y };
  }

  /**
   * The map of these layers; in a report without it, the map of all layers.
   * @param {string} method
   * @param {string} distance
   * @param {string[] | null} layers
   */
  async map(method, distance, layers = null) {
    const key = mapKey(method, distance, layers);
    if (!this.maps.has(key) && this.source) this.maps.set(key, this.readMap(await this.source.map(method, distance, layers ?? [])));
    const found = this.maps.get(key) ?? this.maps.get(mapKey(method, distance, null));
    if (!found) throw new Error("This map is not in the report.");
    return found;
  }

  /**
   * {measures: {name: number | null}, euclidean, mantel: {r, p, permutations} | null, estimated}. Values
   * that a report does not contain are estimated from excerpts: then `estimated`, or `mantel.estimated`, is
   * {points, pairs, errors}.
   * @param {number} a
   * @param {number} b
   * @returns {Promise<Comparison>}
   */
  async compare(a, b) {
    const { id } = this.snapshots;
    if (this.source) return this.source.compare(id[a], id[b]);
    const { comparisons } = this;
    if (!comparisons) throw new Error("This document has no comparisons.");
    const exact = compared(comparisons, comparisons.snapshots.indexOf(a), comparisons.snapshots.indexOf(b));
    if (exact?.mantel) return exact;
    const { permutations, errors } = comparisons;
    const [first, second] = await Promise.all([this.excerpt(a), this.excerpt(b)]);
    const size = comparisons.snapshots.length;
    const estimated = { points: this.excerpted.length, pairs: (size * (size - 1)) / 2, errors };
    const tested = mantelTest(first, second, permutations);
    const mantel = tested && { ...tested, permutations, estimated };
    if (exact) return { ...exact, mantel };
    const share = (this.n * (this.n - 1)) / 2 / first.length;
    return { measures: measuresOf(first, second), euclidean: euclidean(first, second) * Math.sqrt(share), mantel, estimated };
  }

  /**
   * A promise of the RDM of the excerpted points of a snapshot, condensed.
   * @param {number} row
   */
  async excerpt(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    const { snapshots } = this.page.trajectories[index];
    const known = this.#excerpts.get(index) ?? unpackExcerpts(await inflate(this.stored(index, "excerpts") ?? ""), snapshots.length);
    this.#excerpts.set(index, known);
    return known[place];
  }

  /**
   * Distance of every snapshot to a given one, from the leading components of their sketches; null if there is none.
   * @param {number} row
   * @returns {(number | null)[]}
   */
  distancesTo(row) {
    const { width, scale } = this.page.distances;
    return Array.from({ length: this.count }, (_, other) => {
      if (this.snapshots.diverged[other] || this.snapshots.diverged[row]) return null;
      let sum = 0;
      for (let at = 0; at < width; at += 1) {
        sum += (this.components[other * width + at] - this.components[row * width + at]) ** 2;
      }
      return Math.sqrt(sum) * scale;
    });
  }

  get components() {
    this.#components ??= new Int16Array(bytesOf(this.page.distances.rows).buffer);
    return this.#components;
  }

  /**
   * Share of the k nearest neighbors that two pictures have in common, over all points.
   * @param {View} first
   * @param {View} second
   */
  overlap(first, second) {
    let shared = 0;
    for (let point = 0; point < this.n; point += 1) {
      const known = new Set(first.near.subarray(point * this.k, (point + 1) * this.k));
      for (let at = point * this.k; at < (point + 1) * this.k; at += 1) shared += Number(known.has(second.near[at]));
    }
    return shared / (this.n * this.k);
  }
}
