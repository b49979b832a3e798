// Side by side: two representations that are pinned, the same points in both, and how similar they are.

import { element } from "../core/dom.js";
import { Picture } from "./picture.js";
import { brief, pressable } from "./widgets.js";

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
  constructor(bench) {
    this.bench = bench;
    this.pictures = { a: new Picture(bench, "Representation A"), b: new Picture(bench, "Representation B") };
    this.numbers = element("dl", { className: "numbers" });
    this.caption = element("p", { className: "detail" });
    this.lost = element("div", { className: "lost", role: "group", "aria-label": "Points that lost most neighbors" });
    const half = (letter) => {
      const { title, stage, save } = this.pictures[letter];
      const change = pressable("Change", () => bench.set({ mode: "space", pinning: letter }), { className: "plain" });
      change.title = `Choose another representation as ${letter.toUpperCase()} on the map`;
      const sign = element("span", { className: "letter" }, letter.toUpperCase());
      return element("div", { className: "half" }, element("div", { className: "head" }, sign, title, change, save), stage);
    };
    this.node = element(
      "section",
      { className: "panel pair", "aria-label": "Two representations side by side" },
      (this.controls = element("div", { className: "controls" })),
      element("div", { className: "halves" }, half("a"), half("b")),
      element("div", { className: "foot" }, this.lost, this.numbers, this.caption),
    );
  }

  async refresh() {
    const { pins } = this.bench;
    await Promise.all(Object.entries(this.pictures).map(([letter, picture]) => picture.show(pins[letter])));
    const key = `${pins.a} ${pins.b} ${this.bench.scene.stamp}`;
    for (const [letter, picture] of Object.entries(this.pictures)) {
      if (pins[letter] < 0) picture.state.textContent = `Nothing is pinned as ${letter.toUpperCase()}. Press Change to choose it on the map.`;
    }
    if (pins.a < 0 || pins.b < 0) {
      this.lost.replaceChildren();
      this.numbers.replaceChildren();
      this.caption.textContent = "Pin two representations: click one on the map, then press Pin (or the P key).";
    } else if (key !== this.key) await this.measure(key, pins.a, pins.b);
  }

  async measure(key, a, b) {
    this.key = key;
    const { scene } = this.bench;
    this.caption.textContent = "Measuring …";
    const [first, second] = await Promise.all([scene.view(a), scene.view(b)]);
    this.listLost(first, second);
    const rows = [["nearest neighbors in common", scene.overlap(first, second)]];
    let found = null;
    let failure = null;
    try {
      found = a === b ? null : await scene.compare(a, b);
    } catch (error) {
      failure = error.message;
    }
    if (key !== this.key) return;
    const words = rows.map(([name, value]) => [name, value.toFixed(3)]);
    if (found) words.push(...measured(found));
    this.numbers.replaceChildren(...words.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    this.caption.textContent = failure ?? this.source(found, a === b);
  }

  /** The points whose neighbors in A and B have least in common, and which labels came and went. */
  listLost(first, second) {
    const { bench } = this;
    const ranked = lostNeighbors(first, second, bench.scene).slice(0, RANKED);
    const items = ranked.map(({ point, lost }) => {
      const name = `Probe point ${point}, ${bench.pointName(point)}: ${lost} of ${bench.scene.k} neighbors differ`;
      const button = pressable("", () => bench.holdPoint(point), { className: "near", title: name, "aria-label": name });
      if (bench.sprites) button.append(bench.sprites.canvas(point, THUMBNAIL_SIDE));
      button.append(element("span", {}, `${bench.pointName(point)} −${lost}`));
      return button;
    });
    this.lost.replaceChildren(
      element("div", {}, element("h3", {}, "Points that lost most neighbors from A to B"), element("div", { className: "nears" }, ...items)),
      element("div", {}, ...this.confusions(first, second)),
    );
  }

  /** Pairs of values whose points became each other's neighbors, or ceased to be, most. */
  confusions(first, second) {
    const { scene, pointScale } = this.bench;
    if (pointScale.codes === null) return [];
    const [a, b] = [first, second].map(({ near }) => mixedPairs(near, pointScale.codes, scene.k));
    const changes = [...new Set([...a.keys(), ...b.keys()])]
      .map((key) => ({ key, a: a.get(key) ?? 0, b: b.get(key) ?? 0 }))
      .sort((x, y) => Math.abs(y.b - y.a) - Math.abs(x.b - x.a))
      .slice(0, CONFUSED);
    const most = Math.max(...changes.flatMap((change) => [change.a, change.b]), 1);
    const rows = changes.flatMap(({ key, a: before, b: after }) => {
      const [one, other] = key.split(" ").map((code) => pointScale.items[Number(code)].name);
      return [element("dt", {}, `${one} and ${other}`), element("dd", {}, bar("A", before, most), bar("B", after, most))];
    });
    return rows.length ? [element("h3", {}, `Neighbors of another ${this.bench.state.by}: what changed most`), element("dl", { className: "confusions" }, ...rows)] : [];
  }

  /** What the numbers were made of. */
  source(found, same) {
    const { scene } = this.bench;
    const chance = (scene.k / (scene.n - 1)).toFixed(3);
    const common = `Neighbors in common: of the ${scene.k} nearest of each point; ${chance} by chance.`;
    if (same) return `${common} A and B are the same representation.`;
    const tested = found.mantel ? ` Mantel p from ${found.mantel.permutations} relabelings of the points.` : "";
    const estimated = found.estimated ?? found.mantel?.estimated;
    if (!estimated) return `${common} The other measures are of the two RDMs themselves.${tested}`;
    const { points, pairs } = estimated;
    const few = `≈ estimated from ${points} of the ${scene.n} probe points`;
    if (!found.estimated) return `${common} The other measures are of the two RDMs themselves.${tested} ${few}.`;
    const sure = pairs > 0 ? `, ± as far as it was off in 95 % of ${brief(pairs)} pairs whose exact measures this report holds` : "";
    return `${common} ${few}${sure}.${tested} Exact: for the last snapshots of trajectories, and in TensorBoard's tab.`;
  }
}

/** [name, words] of each measure; what is estimated says so, and how far it may be off. */
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
  rows.push([NAMES.euclidean, format("euclidean", brief(euclidean), euclidean)]);
  if (mantel) rows.push(["Mantel p", `${mantel.estimated ? "≈ " : ""}${brief(mantel.p)}`]);
  return rows;
}

/** [{point, lost}]: how many of a point's neighbors in the first are none in the second, most first. */
export function lostNeighbors(first, second, { n, k }) {
  return Array.from({ length: n }, (_, point) => {
    const now = new Set(second.near.subarray(point * k, (point + 1) * k));
    const lost = [...first.near.subarray(point * k, (point + 1) * k)].filter((other) => !now.has(other)).length;
    return { point, lost };
  }).sort((a, b) => b.lost - a.lost || a.point - b.point);
}

/** How many neighbors cross each pair of different codes, by "low high". */
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
