// The ten landmarks nearest to the selected snapshot, of the same layer at the same step.

import { element } from "../shared/dom.js";
import { outcomeScale } from "../shared/colors.js";
import { brief, pressable } from "../shared/widgets.js";

const LISTED = 10;

export class Nearest {
  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.buttons = new Map();
    this.subject = null;
    this.list = element("ol", {});
    this.title = element("h3", {});
    this.node = element("div", { className: "nearest", role: "group", "aria-label": "Nearest landmarks" }, this.title, this.list);
  }

  refresh() {
    const { scene, state, dark } = this.bench;
    if (this.stamp !== scene.stamp) this.subject = null;
    this.stamp = scene.stamp;
    // A landmark that is shown stays in the list that it was chosen from.
    if (this.bench.current >= 0 && scene.runOf(this.bench.current) === state.follow) this.subject = this.bench.current;
    const current = this.subject ?? this.bench.current;
    const key = `${current} ${scene.stamp} ${dark} ${this.bench.filterKey}`;
    if (key !== this.key) this.build(current);
    this.key = key;
    for (const [row, button] of this.buttons) button.setAttribute("aria-current", String(row === this.bench.current));
  }

  build(current) {
    const { scene, dark } = this.bench;
    const found = current < 0 ? [] : scene.nearestLandmarks(current, LISTED, (run) => this.bench.runShown(run));
    const spread = current < 0 ? null : scene.page.strip.spreads[current];
    const name = current < 0 ? "" : `${scene.layerOf(current)}, step ${brief(scene.snapshots.step[current])}`;
    this.title.textContent = found.length ? `Nearest landmarks to ${name}` : this.bench.filterKey ? "No landmarks among the runs that are shown." : "No landmarks here yet: label finished runs.";
    this.node.dataset.of = name;
    const colors = outcomeScale(scene.outcomes, dark);
    this.buttons = new Map();
    this.list.replaceChildren(...found.map(({ row, distance }) => this.item(row, distance, spread, colors)));
  }

  item(row, distance, spread, colors) {
    const { scene } = this.bench;
    const run = scene.snapshots.run[row];
    const sign = element("span", { className: "dot" });
    sign.style.background = colors.color(run);
    const far = spread === null ? distance.toFixed(2) : `${(distance / spread).toFixed(1)}×`;
    const button = pressable("", () => this.bench.store.hold(row), { className: "landmark", title: `${scene.runOf(row)}: ${scene.outcomes[run]}, distance ${far}` });
    button.append(sign, element("span", { className: "name" }, scene.runOf(row)), element("span", { className: "detail" }, far));
    this.buttons.set(row, button);
    return element("li", {}, button);
  }
}
