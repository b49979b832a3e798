// A small histogram in the head of a column, for filtering by dragging or with the keyboard.

import { drawn, element } from "../shared/dom.js";
import { brief } from "../shared/widgets.js";
import { binsOf, holds, rangeOf } from "./filter.js";

const BAR_WIDE = 96;
const BAR_HIGH = 22;

export class Histogram {
  /** `onRange` gets [first, last] places of bins, or null. */
  constructor(column, onRange) {
    this.column = column;
    this.bins = binsOf(column);
    this.onRange = onRange;
    /** @type {[number, number] | null} the first and the last of the chosen bins */
    this.chosen = null;
    /** @type {number[] | null} how many of the listed rows are in each bin */
    this.counts = null;
    this.picture = drawn("svg", { viewBox: `0 0 ${BAR_WIDE} ${BAR_HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.node = element("div", {
      className: "histogram", tabIndex: 0, role: "slider", "aria-valuemin": "0", "aria-valuemax": String(this.bins.length), "data-column": column.key,
    }, this.picture);
    this.listen();
  }

  listen() {
    const binAt = (event) => {
      const box = this.node.getBoundingClientRect();
      const at = Math.floor(((event.clientX - box.left) / box.width) * this.bins.length);
      return Math.min(Math.max(at, 0), this.bins.length - 1);
    };
    let start = -1;
    this.node.addEventListener("pointerdown", (event) => {
      start = binAt(event);
      this.before = JSON.stringify(this.chosen);
      this.node.setPointerCapture(event.pointerId);
      this.show([start, start]);
    });
    this.node.addEventListener("pointermove", (event) => {
      if (start >= 0) this.show([start, binAt(event)].sort((a, b) => a - b));
    });
    this.node.addEventListener("pointerup", () => {
      start = -1;
      // A press on the range that is already chosen clears it.
      this.choose(JSON.stringify(this.chosen) === this.before ? null : this.chosen);
    });
    this.node.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const clear = ["Escape", "Delete", "Backspace"].includes(event.key) && this.chosen;
    if ((!by && !clear) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (clear) return void this.choose(null);
    const bounded = (at) => Math.min(Math.max(at, 0), this.bins.length - 1);
    if (!this.chosen) return void this.choose(by > 0 ? [0, 0] : [this.bins.length - 1, this.bins.length - 1]);
    const [first, last] = this.chosen;
    this.choose(event.shiftKey ? [first, Math.max(bounded(last + by), first)] : [bounded(first + by), bounded(first + by)]);
  }

  choose(chosen) {
    this.show(chosen);
    this.onRange(chosen && rangeOf(this.column, this.bins.slice(chosen[0], chosen[1] + 1)));
  }

  /**
   * Marks the bins of a range, as it stands in the address; null for none.
   * @param {unknown[] | null} range
   * @param {Uint8Array | null} shown the rows that are counted; null for all
   */
  showRange(range, shown = null) {
    const inside = range ? this.bins.map((bin) => holds(range, bin.value ?? bin.low) && (bin.value !== undefined || bin.high <= Number(range[2]))) : [];
    const first = inside.indexOf(true);
    this.counts = shown && binCounts(this.column, this.bins, shown);
    this.show(first < 0 ? null : [first, inside.lastIndexOf(true)]);
  }

  show(chosen) {
    this.chosen = chosen;
    const most = Math.max(...this.bins.map(({ runs }) => runs), 1);
    const step = BAR_WIDE / Math.max(this.bins.length, 1);
    const bar = (runs, at, kind) => {
      const high = runs ? Math.max((runs / most) * (BAR_HIGH - 2), 1.5) : 0;
      return drawn("rect", { class: kind, x: at * step + 0.5, y: BAR_HIGH - high, width: Math.max(step - 1, 1), height: high });
    };
    const kind = (at) => (chosen && at >= chosen[0] && at <= chosen[1] ? "bin chosen" : "bin");
    this.picture.replaceChildren(
      ...(chosen ? [drawn("rect", { class: "brush", x: chosen[0] * step, y: 0, width: (chosen[1] - chosen[0] + 1) * step, height: BAR_HIGH })] : []),
      ...this.bins.map(({ runs }, at) => bar(runs, at, "bin all")),
      ...this.bins.map(({ runs }, at) => bar(this.counts ? this.counts[at] : runs, at, kind(at))),
    );
    const words = chosen ? this.describe(chosen) : "all";
    this.node.setAttribute("aria-valuenow", String(chosen ? chosen[0] + 1 : 0));
    this.node.setAttribute("aria-valuetext", words);
    this.node.setAttribute("aria-label", `Filter by ${this.column.name}`);
    this.node.title = `${this.column.name}: ${words}. Drag to filter; press again to clear.`;
  }

  describe([first, last]) {
    const bins = this.bins.slice(first, last + 1);
    if (!this.column.numeric) return bins.map(({ value }) => String(value)).join(", ");
    const round = (value) => brief(Number(value.toPrecision(3)));
    const [low, high] = [bins[0].low, bins[bins.length - 1].high];
    return low === high ? round(low) : `${round(low)} to ${round(high)}`;
  }
}

/** How many of the shown runs are in each bin. */
function binCounts({ values, numeric }, bins, shown) {
  const counts = bins.map(() => 0);
  values.forEach((value, run) => {
    if (value === null || !shown[run]) return;
    const at = numeric ? Math.max(bins.findLastIndex((bin) => value >= bin.low), 0) : bins.findIndex((bin) => bin.value === value);
    if (at >= 0) counts[at] += 1;
  });
  return counts;
}
