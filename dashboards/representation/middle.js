// The middle box: one representation, as a picture of its probe points.

import { scaleOf } from "../shared/colors.js";
import { element } from "../shared/dom.js";
import { Picture } from "./picture.js";

/** A picture, its controls and its legend. */
export class Middle {
  constructor(bench, pin) {
    this.bench = bench;
    this.picture = new Picture(bench, "The representation that is pointed at", true);
    this.detail = element("p", { className: "detail" });
    this.node = element(
      "section",
      { className: "panel middle", "aria-label": "One representation" },
      element("div", { className: "head" }, this.picture.title, pin, this.picture.save),
      (this.controls = element("div", { className: "controls" })),
      this.picture.stage,
      (this.foot = element("div", { className: "foot" }, this.detail)),
    );
  }

  refresh() {
    const { selected } = this.bench;
    this.detail.textContent = selected < 0 ? "" : this.bench.describe(selected);
    return this.picture.show(selected);
  }
}

/** The scale of a column of the probe set. */
export function columnScale(scene, column, dark) {
  const values = scene.points.columns[column] ?? new Array(scene.n).fill(null);
  return scaleOf(values, dark);
}
