// The document of a page, read: columns as arrays, views of representations on demand.

const PAGE_VERSION = 1;
const LEVELS = 4096;
const GRID = 65535;

/**
 * `whole` has page, points, and in a report comparisons. `source` is how a live page asks for what is
 * not in it: views(run, layer), map(method, distance) and compare(id, id), each a promise.
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
    this.k = page.neighbours;
    this.n = page.points;
    this.maps = new Map(page.maps.map((map) => [`${map.method} ${map.distance}`, readMap(map)]));
    this.views = new Map();
    this.trajectoryOf = new Map();
    page.trajectories.forEach((trajectory, index) =>
      trajectory.snapshots.forEach((row, place) => this.trajectoryOf.set(row, [index, place])),
    );
    this.outcomes = this.runs.map(outcomeOf);
  }

  /** What was read of the same trajectories before stays, where they have not grown. */
  inherit(before) {
    const key = ({ run, layer, snapshots }) => JSON.stringify([run, layer, snapshots.length]);
    const known = new Map(before.page.trajectories.map((one, index) => [key(one), index]));
    this.page.trajectories.forEach((one, index) => {
      const held = before.views.get(known.get(key(one)));
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
    const trajectory = this.page.trajectories.find((one) => one.run === run && one.layer === layer);
    if (!trajectory) return -1;
    const { snapshots } = trajectory;
    return snapshots.findLast((row) => this.snapshots.step[row] <= step) ?? snapshots[0];
  }

  /** The snapshots of a layer of a run, by step. */
  trajectory(run, layer) {
    return this.page.trajectories.find((one) => one.run === run && one.layer === layer)?.snapshots ?? [];
  }

  /** Steps of a run, ascending. */
  stepsOf(run) {
    const steps = this.page.trajectories
      .filter((one) => one.run === run)
      .flatMap((one) => one.snapshots.map((row) => this.snapshots.step[row]));
    return [...new Set(steps)].sort((a, b) => a - b);
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
    const told = trajectory.views ? { steps, views: trajectory.views } : await this.source.views(trajectory.run, trajectory.layer);
    const all = unpackViews(await inflate(told.views), told.steps.length, this.n, this.k);
    // A run that is being written may have grown since the document was made.
    const views = steps.map((step) => all[told.steps.indexOf(step)]);
    if (views.includes(undefined)) throw new Error("This run was written anew. The page reads it again by itself.");
    this.views.set(index, views);
    return views;
  }

  async map(method, distance) {
    const key = `${method} ${distance}`;
    if (!this.maps.has(key) && this.source) this.maps.set(key, readMap(await this.source.map(method, distance)));
    const found = this.maps.get(key);
    if (!found) throw new Error("This map is not in the report.");
    return found;
  }

  /** {measures: {name: number | null}, mantel: {r, p, permutations} | null} or null where unknown. */
  async compare(a, b) {
    const { id } = this.snapshots;
    if (this.source) return this.source.compare(id[a], id[b]);
    const { comparisons } = this;
    const [i, j] = [comparisons.snapshots.indexOf(a), comparisons.snapshots.indexOf(b)];
    if (i < 0 || j < 0) return null;
    const size = comparisons.snapshots.length;
    const read = (text) => {
      const value = shorts(text)[i * size + j];
      return value === 0 ? null : ((value - 1) / (GRID - 1)) * 2 - 1;
    };
    const measures = Object.fromEntries(Object.entries(comparisons.measures).map(([name, text]) => [name, read(text)]));
    const tested = comparisons.mantel.find(([x, y]) => (x === i && y === j) || (x === j && y === i));
    const mantel = tested ? { r: measures.pearson, p: tested[2], permutations: comparisons.permutations } : null;
    return { measures, mantel };
  }

  /** Distance of every snapshot to one, from the leading components of their sketches; NaN where none. */
  distancesTo(row) {
    const { width, scale, rows } = this.page.distances;
    this.components ??= new Int16Array(bytesOf(rows).buffer);
    return Array.from({ length: this.count }, (_, other) => {
      if (this.snapshots.diverged[other] || this.snapshots.diverged[row]) return null;
      let sum = 0;
      for (let at = 0; at < width; at += 1) {
        sum += (this.components[other * width + at] - this.components[row * width + at]) ** 2;
      }
      return Math.sqrt(sum) * scale;
    });
  }

  /** Share of the k nearest neighbours that two pictures have in common, over all points. */
  overlap(first, second) {
    let shared = 0;
    for (let point = 0; point < this.n; point += 1) {
      const known = new Set(first.near.subarray(point * this.k, (point + 1) * this.k));
      for (let at = point * this.k; at < (point + 1) * this.k; at += 1) shared += known.has(second.near[at]);
    }
    return shared / (this.n * this.k);
  }
}

/** The group that a run belongs to: its cause, else "good", "bad" or "unlabelled". */
function outcomeOf({ label, cause }) {
  if (label === "bad") return cause ?? "bad";
  return label ?? "unlabelled";
}

function readMap(map) {
  const [x, y] = [shorts(map.x), shorts(map.y)];
  const scale = (values) => Float32Array.from(values, (value) => (value === 0 ? NaN : (value - 1) / (GRID - 1)));
  return { ...map, x: scale(x), y: scale(y) };
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

/** See repwatch/scene/views.py for how they are packed. */
function unpackViews(bytes, snapshots, n, k) {
  const size = snapshots * n * 2;
  const wide = n > 256;
  const lists = 2 * size;
  const total = snapshots * n * k;
  const views = [];
  const place = new Uint16Array(n * 2);
  const near = new Uint16Array(n * k);
  for (let snapshot = 0; snapshot < snapshots; snapshot += 1) {
    for (let at = 0; at < n * 2; at += 1) {
      const from = snapshot * n * 2 + at;
      place[at] = (place[at] + bytes[from] + 256 * bytes[size + from]) % LEVELS;
    }
    for (let at = 0; at < n * k; at += 1) {
      const from = lists + snapshot * n * k + at;
      near[at] ^= bytes[from] + (wide ? 256 * bytes[from + total] : 0);
    }
    const axis = (first) =>
      Float32Array.from({ length: n }, (_, point) => (place[2 * point + first] / (LEVELS - 1)) * 2 - 1);
    views.push({ x: axis(0), y: axis(1), near: near.slice() });
  }
  return views;
}
