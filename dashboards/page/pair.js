// Side by side: two representations that are pinned, the same points in both, and how similar they are.

import { element } from "../core/dom.js";
import { Picture } from "./picture.js";
import { brief, pressable } from "./widgets.js";

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
      element("div", { className: "foot" }, this.numbers, this.caption),
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
      this.numbers.replaceChildren();
      this.caption.textContent = "Pin two representations: click one on the map, then press Pin (or the P key).";
    } else if (key !== this.key) await this.measure(key, pins.a, pins.b);
  }

  async measure(key, a, b) {
    this.key = key;
    const { scene } = this.bench;
    this.caption.textContent = "Measuring …";
    const [first, second] = await Promise.all([scene.view(a), scene.view(b)]);
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
