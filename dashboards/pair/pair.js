// Side by side: two representations, the same points in both, which of them moved, and how similar they are.

import { element, messageOf } from "../shared/dom.js";
import { brief, pressable } from "../shared/widgets.js";
import { Axis } from "./axis.js";
import { usualEnds } from "./direction.js";
import { Half } from "./half.js";
import { PAIRS } from "./pairs.js";

const RANKED = 10;
const CONFUSED = 5;
const THUMBNAIL_SIDE = 36;
const NAMES = {
  euclidean: "euclidean distance of the RDMs",
  cosine: "cosine of the RDMs",
  pearson: "Pearson correlation",
  spearman: "Spearman correlation",
  cka: "CKA",
  cka_unbiased: "CKA, unbiased",
};

export class Pair {
  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.halves = { a: new Half(this, "a"), b: new Half(this, "b") };
    this.pictures = { a: this.halves.a.picture, b: this.halves.b.picture };
    this.offers = PAIRS.map(([words, title, find]) => {
      const button = pressable(words, () => this.offer(find), { className: "plain", title });
      return { button, find };
    });
    const swap = pressable("Swap", () => bench.store.compare({ a: bench.pins.b, b: bench.pins.a }), { className: "plain", title: "Exchange A and B" });
    const offers = element("div", { className: "offers", role: "group", "aria-label": "Compare" }, element("span", { className: "detail" }, "Compare"), ...this.offers.map(({ button }) => button), swap);
    this.axis = new Axis(bench);
    this.numbers = element("dl", { className: "numbers" });
    this.caption = element("p", { className: "detail" });
    this.lost = element("div",
      { className: "lost", role: "group", "aria-label": "Points that lost the most neighbors" });
    this.node = element(
      "section",
      { className: "panel pair", "aria-label": "Two representations side by side" },
      (this.controls = element("div", { className: "controls" }, offers)),
      element("div", { className: "halves" }, this.halves.a.node, this.halves.b.node),
      this.axis.node,
      element("div", { className: "foot" }, this.lost, this.numbers, this.caption),
    );
  }

  /** The pictures of both halves. */
  allPictures() {
    return Object.values(this.pictures);
  }

  /** Shows another probe point. */
  drawPoint() {
    for (const { scatter } of this.allPictures()) scatter.draw();
    this.axis.draw();
  }

  offer(find) {
    const pair = find(this.bench.scene, this.base());
    if (pair) this.bench.store.compare({ a: pair[0], b: pair[1] });
  }

  /** The snapshot from which pairs are offered. */
  base() {
    const { pins, current } = this.bench;
    return pins.a >= 0 ? pins.a : current;
  }

  async refresh() {
    const { pins, scene } = this.bench;
    const { a, b } = this.pictures;
    for (const half of Object.values(this.halves)) half.refresh();
    for (const { button, find } of this.offers) button.disabled = this.base() < 0 || find(scene, this.base()) === null;
    await a.show(pins.a);
    // Turned onto A, so that points that lie elsewhere in B have moved.
    await b.show(pins.b, pins.a < 0 ? null : { row: pins.a, view: a.view });
    const { state } = this.bench;
    const key = [pins.a, pins.b, scene.stamp, state.by, state.from, state.towards].join(" ");
    for (const [letter, picture] of Object.entries(this.pictures)) {
      if (pins[letter] < 0) picture.say(`Choose the run of ${letter.toUpperCase()} above.`);
    }
    if (pins.a < 0 || pins.b < 0) {
      this.lost.replaceChildren();
      this.numbers.replaceChildren();
      b.showArrows([]);
      this.axis.hide();
      this.caption.textContent = "";
    } else if (key !== this.key) await this.measure(key, pins.a, pins.b);
    else this.axis.draw();
  }

  async measure(key, a, b) {
    this.key = key;
    const { scene } = this.bench;
    this.caption.textContent = "Measuring …";
    const [first, second] = await Promise.all([scene.view(a), scene.view(b)]);
    const moved = this.listLost(first, second);
    const changes = this.changedPairs(first, second);
    this.axis.show({ a, b }, usualEnds(changes, this.bench.pointScale.items?.length ?? 0), moved);
    const common = scene.overlap(first, second);
    /** @type {import("../types.js").Comparison | null} */
    let found = null;
    /** @type {string | null} */
    let failure = null;
    try {
      found = a === b ? null : await scene.compare(a, b);
    } catch (error) {
      failure = messageOf(error);
    }
    if (key !== this.key) return;
    const words = [["nearest neighbors in common", common.toFixed(3)]];
    if (found) words.push(...measured(found));
    this.numbers.replaceChildren(...words.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    this.caption.textContent = failure ?? this.source(found, a === b);
  }

  /** The points whose neighbors differ most between A and B, and the pairs of labels that changed most. */
  listLost(first, second) {
    const { bench } = this;
    const ranked = lostNeighbors(first, second, bench.scene).slice(0, RANKED);
    const moved = ranked.filter(({ lost }) => lost > 0).map(({ point }) => point);
    this.pictures.b.showArrows(moved);
    const items = ranked.map(({ point, lost }) => {
      const name = `Probe point ${point}, ${bench.pointName(point)}: ${lost} of ${bench.scene.k} neighbors differ`;
      const button = pressable("", () => bench.store.holdPoint(point), { className: "near", title: name, "aria-label": name });
      if (bench.sprites) button.append(bench.sprites.canvas(point, THUMBNAIL_SIDE));
      button.append(element("span", {}, `${bench.pointName(point)} −${lost}`));
      return button;
    });
    this.lost.replaceChildren(
      element("div", {}, element("h3", {}, "Points that lost the most neighbors from A to B (arrows in B start at their place in A)"), element("div", { className: "nears" }, ...items)),
      element("div", {}, ...this.confusions(first, second)),
    );
    return moved;
  }

  /** Pairs of values whose points became each other's neighbors, or ceased to be, most first: {key, a, b}. */
  changedPairs(first, second) {
    const { scene, pointScale } = this.bench;
    if (pointScale.codes === null) return [];
    const [a, b] = [first, second].map(({ near }) => mixedPairs(near, pointScale.codes, scene.k));
    return [...new Set([...a.keys(), ...b.keys()])]
      .map((key) => ({ key, a: a.get(key) ?? 0, b: b.get(key) ?? 0 }))
      .sort((x, y) => Math.abs(y.b - y.a) - Math.abs(x.b - x.a));
  }

  /** Those pairs as bars. */
  confusions(first, second) {
    const { pointScale } = this.bench;
    if (pointScale.codes === null) return [];
    const changes = this.changedPairs(first, second).slice(0, CONFUSED);
    const most = Math.max(...changes.flatMap((change) => [change.a, change.b]), 1);
    const rows = changes.flatMap(({ key, a: before, b: after }) => {
      const [one, other] = key.split(" ").map((code) => pointScale.items[Number(code)].name);
      return [element("dt", {}, `${one} and ${other}`), element("dd", {}, bar("A", before, most), bar("B", after, most))];
    });
    return rows.length ? [element("h3", {}, `Neighbors with another ${this.bench.state.by}: largest changes`), element("dl", { className: "confusions" }, ...rows)] : [];
  }

  /** What the numbers were computed from. */
  source(found, same) {
    const { scene } = this.bench;
    const chance = (scene.k / (scene.n - 1)).toFixed(3);
    const common = `Neighbors in common: among the ${scene.k} nearest of each point; ${chance} by chance.`;
    if (same) return `${common} A and B are the same representation.`;
    const tested = found.mantel ? ` Mantel p from ${found.mantel.permutations} relabelings of the points.` : "";
    const estimated = found.estimated ?? found.mantel?.estimated;
    if (!estimated) return `${common} The other measures compare the full RDMs.${tested}`;
    const { points, pairs } = estimated;
    const few = `≈ estimated from ${points} of the ${scene.n} probe points`;
    if (!found.estimated) return `${common} The other measures compare the full RDMs.${tested} ${few}.`;
    const sure = pairs > 0 ? `, ± the largest error in 95% of the ${brief(pairs)} pairs with exact measures in this report` : "";
    return `${common} ${few}${sure}.${tested} Exact values: for the last snapshots of trajectories, and in TensorBoard's tab.`;
  }
}

/**
 * [name, words] of each measure; an estimate is marked as such, with its error.
 * @param {import("../types.js").Comparison} found
 */
function measured({ measures, euclidean, mantel, estimated }) {
  const format = (name, text, share = 1) => {
    if (!estimated) return text;
    const off = estimated.errors[name];
    return off === null || off === undefined ? `≈\u00a0${text}` : `≈\u00a0${text}\u00a0±\u00a0${brief(Number((off * share).toPrecision(2)))}`;
  };
  const rows = Object.entries(measures).map(([name, value]) => [
    NAMES[name] ?? name,
    value === null ? "not defined" : format(name, value.toFixed(3)),
  ]);
  if (euclidean !== null) rows.push([NAMES.euclidean, format("euclidean", brief(euclidean), euclidean)]);
  if (mantel) rows.push(["Mantel p", `${mantel.estimated ? "≈ " : ""}${brief(mantel.p)}`]);
  return rows;
}

/** [{point, lost}]: how many of a point's neighbors in the first are not its neighbors in the second, most first. */
export function lostNeighbors(first, second, { n, k }) {
  return Array.from({ length: n }, (_, point) => {
    const now = new Set(second.near.subarray(point * k, (point + 1) * k));
    const lost = [...first.near.subarray(point * k, (point + 1) * k)].filter((other) => !now.has(other)).length;
    return { point, lost };
  }).sort((a, b) => b.lost - a.lost || a.point - b.point);
}

/** How many neighbors each pair of different codes has between them, by "low high". */
function mixedPairs(near, codes, k) {
  const counts = new Map();
  near.forEach((other, at) => {
    const [one, two] = [codes[Math.floor(at / k)], codes[other]];
    if (one === two || one < 0 || two < 0) return;
    const key = one < two ? `${one} ${two}` : `${two} ${one}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  });
  return counts;
}

function bar(letter, count, most) {
  const line = element("span", { className: "bar" });
  line.style.width = `${(100 * count) / most}%`;
  return element("span", { className: "bar-row" }, element("span", { className: "detail" }, `${letter} ${count}`), element("span", { className: "bar-track" }, line));
}
