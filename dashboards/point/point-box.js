// The right box: one probe point, and its nearest neighbors in the representation that is shown.

import { element } from "../shared/dom.js";
import { linkOrText } from "../shared/links.js";
import { flagCard, flagHere } from "../strip/flag-card.js";
import { brief, pressable } from "../shared/widgets.js";

const LARGEST = 168;
const THUMBNAIL = 36;
const WIDTH = 202;

export class PointBox {
  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.body = element("div", { className: "body" });
    this.node = element("section", { className: "panel point", "aria-label": "One probe point", "aria-live": "off" }, this.body);
  }

  refresh() {
    const { scene, point, selected } = this.bench;
    if (point < 0 || point >= scene.n) {
      const flag = flagHere(this.bench);
      this.body.replaceChildren(...(flag ? flagCard(this.bench, flag) : this.probeSet()));
      this.node.dataset.point = "";
      return;
    }
    this.node.dataset.point = String(point);
    const { columns, texts, links } = scene.points;
    const rows = Object.entries(columns)
      .filter(([, values]) => values[point] !== null)
      .flatMap(([name, values]) => [element("dt", {}, name), element("dd", {}, brief(values[point]))]);
    /** @type {(Node | null)[]} */
    const parts = [
      this.bench.sprites ? element("div", { className: "picture" }, this.bench.sprites.canvas(point, LARGEST)) : null,
      element("h2", {}, `Probe point ${point}`),
      texts?.[point] ? element("p", { className: "words" }, texts[point]) : null,
      rows.length ? element("dl", {}, ...rows) : null,
      links?.[point] ? linkOrText(links[point], "words") : null,
    ];
    for (const half of this.halves(selected)) {
      const picture = half.row < 0 ? null : scene.viewNow(half.row);
      if (picture) parts.push(...this.neighbors(picture, half, point));
    }
    this.body.replaceChildren(...parts.flatMap((part) => part ?? []));
  }

  /** The representations that are described: the one that is shown, or both halves compared with each other. */
  halves(selected) {
    const { scene, state, pins } = this.bench;
    const before = scene.before(selected);
    const since = before < 0 ? "" : `at step ${brief(scene.snapshots.step[before])}`;
    if (state.mode !== "pair") return [{ row: selected, before, title: "Nearest in this representation", since }];
    return [
      { row: pins.a, before: pins.b, title: "Nearest in A", since: "in B" },
      { row: pins.b, before: pins.a, title: "Nearest in B", since: "in A" },
    ];
  }

  /** What is shown before a point is selected. */
  probeSet() {
    const { scene, sprites, pointScale } = this.bench;
    const sheet = sprites ? [sprites.whole(scene.n, WIDTH, pointScale.color)] : [];
    return [
      element("h2", {}, `Probe set of ${scene.n} points`),
      element("p", { className: "hint" }, "Hover over a point in a picture to see it here, with its nearest neighbors."),
      ...sheet,
    ];
  }

  neighbors(picture, { row, before, title, since }, point) {
    const { scene } = this.bench;
    const near = [...picture.near.subarray(point * scene.k, (point + 1) * scene.k)];
    const fresh = this.bench.newNeighbors(row, point, before);
    const items = near.map((other) => {
      const isNew = fresh.has(other);
      const name = `${this.bench.pointName(other)}${isNew ? ", new" : ""}`;
      const button = pressable("", () => this.bench.store.holdPoint(other), { className: isNew ? "near new" : "near", title: name });
      button.setAttribute("aria-label", name);
      if (this.bench.sprites) button.append(this.bench.sprites.canvas(other, THUMBNAIL));
      button.append(element("span", {}, this.bench.pointName(other)));
      return button;
    });
    const change =
      before < 0
        ? "This is the first representation of its trajectory."
        : `${fresh.size} of ${near.length} are not neighbors ${since}.`;
    return [
      element("h3", { title: this.bench.nameOf(row) }, title),
      element("div", { className: "nears", role: "group", "aria-label": title }, ...items),
      element("p", { className: "detail" }, change),
      pressable("Select these points", () => this.bench.store.choosePoints([point, ...near]), { className: "plain" }),
    ];
  }
}
