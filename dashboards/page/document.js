// The document of a page, read: columns as arrays, views of representations on demand.

import { euclidean, mantelTest, measuresOf } from "./similarity.js";

const PAGE_VERSION = 3;
const LEVELS = 4096;
const GRID = 65535;

/**
 * `whole` has page, points, and in a report excerpted and comparisons. `source` is how a live page asks
 * for what is not in it: views(run, layer), map(method, distance, layers) and compare(id, id), each a
 * promise.
 */
export class Scene {
  constructor(whole, source = null) {
    const { page } = whole;
    if (page.version !== PAGE_VERSION || page.kind !== "page") {
      throw new Error(
        `This document is ${page.kind} version ${page.version}, the page reads version ${PAGE_VERSION}. ` +
          "Make it again with the RepWatch that is installed.",
      );
    }
    Object.assign(this, whole);
    this.source = source;
    this.runs = page.runs;
    this.layers = page.layers;
    this.snapshots = page.snapshots;
    this.count = page.snapshots.step.length;
    this.k = page.neighbors;
    this.n = page.points;
    this.maps = new Map(page.maps.map((map) => [mapKey(map.method, map.distance, map.layers), this.readMap(map)]));
    this.views = new Map();
    this.excerpts = new Map();
    this.trajectoryOf = new Map();
    page.trajectories.forEach((trajectory, index) =>
      trajectory.snapshots.forEach((row, place) => this.trajectoryOf.set(row, [index, place])),
    );
    this.outcomes = this.runs.map(outcomeOf);
  }

  /** What was read of the same trajectories before stays, where they have not grown. */
  inherit(before) {
    const key = ({ run, layer, snapshots }) => JSON.stringify([run, layer, snapshots.length]);
    const known = new Map(before.page.trajectories.map((trajectory, index) => [key(trajectory), index]));
    this.page.trajectories.forEach((trajectory, index) => {
      const held = before.views.get(known.get(key(trajectory)));
      if (held) this.views.set(index, held);
    });
  }

  runOf(row) {
    return this.runs[this.snapshots.run[row]].name;
  }

  layerOf(row) {
    return this.layers[this.snapshots.layer[row]];
  }

  /** The snapshot of a run and layer at a step, or the last before it, or the first; -1 for none. */
  find(run, layer, step) {
    const trajectory = this.page.trajectories.find((candidate) => candidate.run === run && candidate.layer === layer);
    if (!trajectory) return -1;
    const { snapshots } = trajectory;
    return snapshots.findLast((row) => this.snapshots.step[row] <= step) ?? snapshots[0];
  }

  /** The snapshots of a layer of a run, by step. */
  trajectory(run, layer) {
    return this.page.trajectories.find((trajectory) => trajectory.run === run && trajectory.layer === layer)?.snapshots ?? [];
  }

  /** Steps of a run, ascending. */
  stepsOf(run) {
    const steps = this.page.trajectories
      .filter((trajectory) => trajectory.run === run)
      .flatMap((trajectory) => trajectory.snapshots.map((row) => this.snapshots.step[row]));
    return [...new Set(steps)].sort((a, b) => a - b);
  }

  /** Every snapshot of a layer of a run by step, diverged ones too. */
  everyRow(run, layer) {
    return this.rowsOf(run).filter((row) => this.layerOf(row) === layer);
  }

  /** Every snapshot of a run. */
  rowsOf(run) {
    this.rowsByRun ??= groupRows(this.snapshots.run);
    return this.rowsByRun.get(this.runs.findIndex((candidate) => candidate.name === run)) ?? [];
  }

  /** Steps of a run, ascending, also those at which it had diverged. */
  allStepsOf(run) {
    return [...new Set(this.rowsOf(run).map((row) => this.snapshots.step[row]))].sort((a, b) => a - b);
  }

  /** A snapshot of a run at the step nearest to this one, of this layer or of any; -1 for none. */
  rowAt(run, step, layer = null) {
    const away = (row) => Math.abs(this.snapshots.step[row] - step);
    return this.rowsOf(run)
      .filter((row) => layer === null || (this.layerOf(row) === layer && !this.snapshots.diverged[row]))
      .reduce((best, row) => (best < 0 || away(row) < away(best) ? row : best), -1);
  }

  /** The labeled runs' snapshots of the same layer at the same step that are nearest: {row, distance}. */
  nearestLandmarks(row, most, shown = () => true) {
    const [layer, step] = [this.layerOf(row), this.snapshots.step[row]];
    const distances = this.distancesTo(row);
    return this.runs
      .filter((run, index) => run.label !== null && run.name !== this.runOf(row) && shown(index))
      .map((run) => this.rowAt(run.name, step, layer))
      .filter((other) => other >= 0 && distances[other] !== null)
      .map((other) => ({ row: other, distance: distances[other] }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, most);
  }

  /** Whether a snapshot is the last of its trajectory. */
  isLast(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    return index >= 0 && place === this.page.trajectories[index].snapshots.length - 1;
  }

  /** Layers that are equal in all snapshots, such as the input: {rows, shown} by layer, `shown` is the followed run's. */
  get repeated() {
    this.repeats ??= new Map(
      [...groupRows(this.snapshots.layer)]
        .map(([layer, rows]) => [layer, rows.filter((row) => !this.snapshots.diverged[row])])
        .filter(([, rows]) => rows.length > 1 && rows.every((row) => this.sameComponents(row, rows[0])))
        .map(([layer, rows]) => [layer, { count: rows.length, shown: rows.findLast((row) => this.runOf(row) === this.page.current[0]) ?? rows.at(-1) }]),
    );
    return this.repeats;
  }

  /** Whether a snapshot is one of many equal ones, of which another is shown. */
  isRepeated(row) {
    const equal = this.repeated.get(this.snapshots.layer[row]);
    return equal !== undefined && equal.shown !== row;
  }

  /** How many snapshots the mark of this one stands for. */
  standsFor(row) {
    return this.repeated.get(this.snapshots.layer[row])?.count ?? 1;
  }

  sameComponents(row, other) {
    const { width } = this.page.distances;
    for (let at = 0; at < width; at += 1) if (this.components[row * width + at] !== this.components[other * width + at]) return false;
    return true;
  }

  /** The snapshot before this one in its trajectory, or -1. */
  before(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    return place > 0 ? this.page.trajectories[index].snapshots[place - 1] : -1;
  }

  /** The picture of a snapshot if it has been read: {x, y, near}, x and y in [-1, 1]. */
  viewNow(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    const held = this.views.get(index);
    return Array.isArray(held) ? held[place] : null;
  }

  /** A promise of the picture of a snapshot; all of its trajectory are read with it. */
  async view(row) {
    const [index, place] = this.trajectoryOf.get(row) ?? [-1, 0];
    if (index < 0) throw new Error("This snapshot has diverged: its activations were NaN or infinite.");
    if (!this.views.has(index)) this.views.set(index, this.read(index));
    try {
      return (await this.views.get(index))[place];
    } catch (error) {
      this.views.delete(index);
      throw error;
    }
  }

  async read(index) {
    const trajectory = this.page.trajectories[index];
    const steps = trajectory.snapshots.map((row) => this.snapshots.step[row]);
    const packed = trajectory.views ? { steps, views: trajectory.views } : await this.source.views(trajectory.run, trajectory.layer);
    const all = unpackViews(await inflate(packed.views), packed.steps.length, this.n, this.k);
    // A run that is being written may have grown since the document was made.
    const views = steps.map((step) => all[packed.steps.indexOf(step)]);
    if (views.includes(undefined)) throw new Error("This run was rewritten. The page reloads it automatically.");
    this.views.set(index, views);
    return views;
  }

  /** The method that a page begins with: t-SNE, or what a report without it holds. */
  usualMethod() {
    const held = this.page.maps.map((map) => map.method);
    return this.source || held.length === 0 || held.includes("tsne") ? "tsne" : held[0];
  }

  /** Which layers a map is made of, where some are switched off; null for all. */
  chosenLayers(off) {
    const chosen = this.layers.filter((layer) => !off.includes(layer));
    return chosen.length === 0 || chosen.length === this.layers.length ? null : chosen;
  }

  /** Whether a map is at hand; a report falls back to the map of all layers. */
  hasMap(method, distance, layers = null) {
    return this.maps.has(mapKey(method, distance, layers)) || (!this.source && this.maps.has(mapKey(method, distance, null)));
  }

  /** A map's positions for every snapshot, in [0, 1]; NaN where it has none. */
  readMap(map) {
    const scale = (text) => Float32Array.from(shorts(text), (value) => (value === 0 ? NaN : (value - 1) / (GRID - 1)));
    const [x, y] = [scale(map.x), scale(map.y)];
    if (!map.layers) return { ...map, x, y };
    const wanted = new Set(map.layers.map((layer) => this.layers.indexOf(layer)));
    const rows = this.snapshots.layer.flatMap((layer, row) => (wanted.has(layer) ? [row] : []));
    const spread = (values) => {
      const every = new Float32Array(this.count).fill(NaN);
      rows.forEach((row, at) => (every[row] = values[at]));
      return every;
    };
    // Of a registry that has grown since the document was made: the page is read again soon.
    return rows.length === x.length ? { ...map, x: spread(x), y: spread(y) } : { ...map, x, y };
  }

  /** The map of these layers; in a report that does not hold it, the map of all. */
  async map(method, distance, layers = null) {
    const key = mapKey(method, distance, layers);
    if (!this.maps.has(key) && this.source) this.maps.set(key, this.readMap(await this.source.map(method, distance, layers ?? [])));
    const found = this.maps.get(key) ?? this.maps.get(mapKey(method, distance, null));
    if (!found) throw new Error("This map is not in the report.");
    return found;
  }

  /**
   * {measures: {name: number | null}, euclidean, mantel: {r, p, permutations} | null, estimated}. What
   * a report does not hold of a pair it estimates from excerpts: then `estimated`, or that of mantel,
   * is {points, pairs, errors}.
   */
  async compare(a, b) {
    const { id } = this.snapshots;
    if (this.source) return this.source.compare(id[a], id[b]);
    const { comparisons } = this;
    const exact = this.compared(comparisons.snapshots.indexOf(a), comparisons.snapshots.indexOf(b));
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

  /** What the report holds of the pair (i, j) of last snapshots; null where it does not. */
  compared(i, j) {
    if (i < 0 || j < 0 || i === j) return null;
    const { comparisons } = this;
    const size = comparisons.snapshots.length;
    const [low, high] = [Math.min(i, j), Math.max(i, j)];
    const place = size * low - (low * (low + 1)) / 2 + high - low - 1;
    const share = (text) => {
      const value = shorts(text)[place];
      return value === 0 ? null : (value - 1) / (GRID - 1);
    };
    const measures = Object.fromEntries(
      Object.entries(comparisons.measures).map(([name, text]) => [name, share(text) === null ? null : share(text) * 2 - 1]),
    );
    const { scale, rows } = comparisons.euclidean;
    const tested = comparisons.mantel.find(([x, y]) => (x === i && y === j) || (x === j && y === i));
    const mantel = tested ? { r: measures.pearson, p: tested[2], permutations: comparisons.permutations } : null;
    return { measures, euclidean: share(rows) * scale, mantel };
  }

  /** A promise of the RDM of the excerpted points of a snapshot, condensed. */
  async excerpt(row) {
    const [index, place] = this.trajectoryOf.get(row);
    if (!this.excerpts.has(index)) {
      const { excerpts, snapshots } = this.page.trajectories[index];
      this.excerpts.set(index, unpackExcerpts(await inflate(excerpts), snapshots.length));
    }
    return this.excerpts.get(index)[place];
  }

  /** Distance of every snapshot to a given one, from the leading components of their sketches; NaN where none. */
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
    this.unpacked ??= new Int16Array(bytesOf(this.page.distances.rows).buffer);
    return this.unpacked;
  }

  /** Share of the k nearest neighbors that two pictures have in common, over all points. */
  overlap(first, second) {
    let shared = 0;
    for (let point = 0; point < this.n; point += 1) {
      const known = new Set(first.near.subarray(point * this.k, (point + 1) * this.k));
      for (let at = point * this.k; at < (point + 1) * this.k; at += 1) shared += known.has(second.near[at]);
    }
    return shared / (this.n * this.k);
  }
}

/** Places by value: Map of value to the indices that have it. */
function groupRows(values) {
  const groups = new Map();
  values.forEach((value, row) => {
    if (!groups.has(value)) groups.set(value, []);
    groups.get(value).push(row);
  });
  return groups;
}

function mapKey(method, distance, layers) {
  return JSON.stringify([method, distance, layers && [...layers].sort()]);
}

/** The group that a run belongs to: its cause, else "good", "bad" or "unlabeled". */
function outcomeOf({ label, cause }) {
  if (label === "bad") return cause ?? "bad";
  return label ?? "unlabeled";
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function shorts(text) {
  return new Uint16Array(bytesOf(text).buffer);
}

async function inflate(text) {
  if (!("DecompressionStream" in window)) {
    throw new Error("This browser cannot unpack the pictures: open the page with one of 2023 or newer.");
  }
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** See repwatch/page/excerpts.py for how they are packed. */
function unpackExcerpts(bytes, snapshots) {
  const largest = new Float32Array(bytes.slice(0, 4 * snapshots).buffer);
  const size = (bytes.length - 4 * snapshots) / snapshots;
  const levels = new Uint8Array(size);
  return Array.from(largest, (unit, snapshot) => {
    const from = 4 * snapshots + snapshot * size;
    for (let at = 0; at < size; at += 1) levels[at] += bytes[from + at];
    return Float64Array.from(levels, (level) => (level / 255) * unit);
  });
}

/** See repwatch/page/views.py for how they are packed. */
function unpackViews(bytes, snapshots, n, k) {
  const size = snapshots * n * 2;
  const wide = n > 256;
  const lists = 2 * size;
  const total = snapshots * n * k;
  const views = [];
  const place = new Uint16Array(n * 2);
  for (let snapshot = 0; snapshot < snapshots; snapshot += 1) {
    for (let at = 0; at < n * 2; at += 1) {
      const from = snapshot * n * 2 + at;
      place[at] = (place[at] + bytes[from] + 256 * bytes[size + from]) % LEVELS;
    }
    const first = lists + snapshot * n * k;
    const ranks = Uint16Array.from({ length: n * k }, (_, at) => bytes[first + at] + (wide ? 256 * bytes[first + at + total] : 0));
    const axis = (first) =>
      Float32Array.from({ length: n }, (_, point) => (place[2 * point + first] / (LEVELS - 1)) * 2 - 1);
    views.push(lazily({ x: axis(0), y: axis(1) }, place.slice(), ranks, n, k));
  }
  return views;
}

/** The view with `near`, which is found when it is asked for: it takes some milliseconds. */
function lazily(view, place, ranks, n, k) {
  let near = null;
  Object.defineProperty(view, "near", { get: () => (near ??= neighborsOf(place, ranks, n, k)), enumerable: true });
  return view;
}

/** The k nearest neighbors of each point out of their ranks by distance in the picture. */
function neighborsOf(place, ranks, n, k) {
  const near = new Uint16Array(n * k);
  const keys = new Float64Array(n);
  for (let point = 0; point < n; point += 1) {
    for (let other = 0; other < n; other += 1) {
      const [dx, dy] = [place[2 * other] - place[2 * point], place[2 * other + 1] - place[2 * point + 1]];
      keys[other] = (dx * dx + dy * dy) * n + other;
    }
    keys[point] = -n + point;
    keys.sort();
    for (let at = point * k; at < (point + 1) * k; at += 1) {
      const key = keys[ranks[at]];
      near[at] = ((key % n) + n) % n;
    }
  }
  return near;
}
