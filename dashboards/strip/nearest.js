// The ten landmarks nearest to the selected snapshot, of the same layer at the same step.

import { element } from "../shared/dom.js";
import { outcomeScale } from "../shared/colors.js";
import { dot, html, listOf, render } from "../shared/lists.js";
import { brief } from "../shared/widgets.js";

const LISTED = 10;

export class Nearest {
  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.subject = null;
    /** @type {{row: number, distance: number}[]} */
    this.found = [];
    /** @type {number | null} */
    this.spread = null;
    this.colors = outcomeScale([], false);
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
    render(listOf(this.found, ({ row }) => row, ({ row, distance }) => this.item(row, distance)), this.list);
  }

  build(current) {
    const { scene, dark } = this.bench;
    const found = current < 0 ? [] : scene.nearestLandmarks(current, LISTED, (run) => this.bench.runShown(run));
    this.found = found;
    this.colors = outcomeScale(scene.outcomes, dark);
    this.spread = current < 0 ? null : scene.page.strip.spreads[current];
    const name = current < 0 ? "" : `${scene.layerOf(current)}, step ${brief(scene.snapshots.step[current])}`;
    this.title.textContent = found.length ? `Nearest landmarks to ${name}` : this.bench.filterKey ? "No landmarks among the runs that are shown." : "No landmarks here yet: label finished runs.";
    this.node.dataset.of = name;
  }

  item(row, distance) {
    const { scene } = this.bench;
    const run = scene.snapshots.run[row];
    const name = scene.runOf(row);
    const far = this.spread === null ? distance.toFixed(2) : `${(distance / this.spread).toFixed(1)}×`;
    return html`<li><button type="button" class="landmark" title=${`${name}: ${scene.outcomes[run]}, distance ${far}`}
      aria-current=${String(row === this.bench.current)} @click=${() => this.bench.store.hold(row)}>${
      dot(this.colors.color(run))}<span class="name">${name}</span><span class="detail">${far}</span></button></li>`;
  }
}
