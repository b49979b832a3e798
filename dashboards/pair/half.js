// One half of a comparison: its picture, and the run, layer and step that it shows.

import { element } from "../shared/dom.js";
import { Picture } from "../representation/picture.js";
import { choice } from "../shared/widgets.js";

const MOST_LISTED = 300;

export class Half {
  constructor(pair, letter) {
    this.pair = pair;
    this.bench = pair.bench;
    this.letter = letter;
    this.other = letter === "a" ? "b" : "a";
    const name = letter.toUpperCase();
    this.picture = new Picture(this.bench, `Representation ${name}`, false, { before: () => this.bench.pins[this.other] });
    this.run = choice("Run", (run) => this.take({ run }), `Run of ${name}`);
    this.layer = choice("Layer", (layer) => this.take({ layer }), `Layer of ${name}`);
    this.step = choice("Step", (step) => this.take({ step: Number(step) }), `Step of ${name}`);
    const sign = element("span", { className: "letter" }, name);
    // Sighted readers see the same in the lists.
    this.picture.title.classList.add("hidden-words");
    const head = element("div", { className: "head" }, this.picture.title, sign, this.run.node, this.layer.node, this.step.node, this.picture.save);
    this.node = element("div", { className: "half" }, head, this.picture.stage);
  }

  get row() {
    return this.bench.pins[this.letter];
  }

  /** Takes another run, layer or step; both halves change their layer together if they had the same one. */
  take(change) {
    const { scene, pins, selected } = this.bench;
    const from = this.row >= 0 ? this.row : selected;
    const wanted = { run: scene.runOf(from), layer: scene.layerOf(from), step: scene.snapshots.step[from], ...change };
    const chosen = { [this.letter]: scene.find(wanted.run, wanted.layer, wanted.step) };
    const beside = pins[this.other];
    if (change.layer && beside >= 0 && scene.layerOf(beside) === scene.layerOf(from)) {
      chosen[this.other] = scene.find(scene.runOf(beside), change.layer, scene.snapshots.step[beside]);
    }
    this.bench.store.compare(chosen);
  }

  refresh() {
    const { scene } = this.bench;
    const { row } = this;
    this.run.show(this.runs().map((name) => [name, this.runWords(name)]), row < 0 ? "" : scene.runOf(row));
    if (row < 0) return;
    const run = scene.runOf(row);
    const layers = scene.layers.filter((layer) => scene.trajectory(run, layer).length > 0);
    this.layer.show(layers.map((layer) => [layer, layer]), scene.layerOf(row));
    const rows = scene.trajectory(run, scene.layerOf(row));
    const words = (at) => {
      const epoch = scene.snapshots.epoch[at];
      const step = scene.snapshots.step[at].toLocaleString("en");
      return epoch === null ? step : `${step} (epoch ${epoch})`;
    };
    this.step.show(rows.map((at) => [String(scene.snapshots.step[at]), words(at)]), String(scene.snapshots.step[row]));
  }

  /** Runs that the table shows, those nearest to the other half first. */
  runs() {
    const { scene, pins } = this.bench;
    const beside = pins[this.other];
    const own = this.row < 0 ? null : scene.runOf(this.row);
    const names = scene.runs.filter((run, index) => this.bench.runShown(index) || run.name === own).map(({ name }) => name);
    if (beside < 0) return names.slice(-MOST_LISTED);
    const distances = scene.distancesTo(beside);
    const far = new Map(
      names.map((name) => {
        const row = scene.rowAt(name, scene.snapshots.step[beside], scene.layerOf(beside));
        return [name, row < 0 ? Infinity : (distances[row] ?? Infinity)];
      }),
    );
    const listed = names.sort((a, b) => far.get(a) - far.get(b)).slice(0, MOST_LISTED);
    return own === null || listed.includes(own) ? listed : [own, ...listed];
  }

  runWords(name) {
    const { scene } = this.bench;
    return `${name} · ${scene.outcomes[scene.runs.findIndex((run) => run.name === name)]}`;
  }
}
