// The table of runs, and the filter of everything that is shown.

import { outcomeScale } from "../shared/colors.js";
import { element } from "../shared/dom.js";
import { pressable } from "../shared/widgets.js";
import { columnsOf } from "./columns.js";
import { listedRows, orderedRows, readRange, selectedRuns } from "./filter.js";
import { Table } from "./table.js";

export class RunTable {
  /** @type {import("../types.js").Column[]} */
  columns = [];
  /** @type {Uint8Array | null} the runs that are shown everywhere; null for all */
  mask = null;
  /** @type {Uint8Array | null} the runs that the table lists */
  listed = null;
  /** @type {import("../document/scene.js").Scene | null} */
  scene = null;
  filtered = "";
  built = "";

  /** @param {import("../page/workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    const { store } = bench;
    this.opener = pressable("", () => store.toggleTable(), { className: "opener", title: "Show or hide the table of runs (R)", "aria-controls": "run-table" });
    this.table = new Table({
      id: "run-table",
      label: "Runs",
      row: "run",
      picks: true,
      find: "Filter runs: text, cause:overfitting",
      hint: "Click a run to follow it; check some to see only these everywhere else.",
      act: {
        find: (text) => store.findRuns(text),
        range: (key, range) => store.rangeRuns(key, range),
        sort: (sort) => store.sortRuns(sort),
        choose: (run) => store.followRun(this.nameOf(run)),
        pick: (run) => store.pickRun(this.nameOf(run)),
        pickMany: (runs) => store.pickRuns(runs.map((run) => this.nameOf(run))),
        point: (run) => store.pointRun(run),
        showAll: () => store.showAllRuns(),
        close: () => this.leave(),
      },
    });
    this.node = this.table.node;
  }

  nameOf(run) {
    return this.bench.scene.runs[run].name;
  }

  /** Computes which runs are shown; returns a key of the filter, "" if all are. */
  filter() {
    const { scene, state } = this.bench;
    if (this.scene !== scene) Object.assign(this, { scene, filtered: "", columns: columnsOf(scene) });
    const key = JSON.stringify([state.find, state.ranges, state.picked]);
    if (key !== this.filtered) {
      this.filtered = key;
      this.listed = listedRows(this.columns, state);
      this.mask = selectedRuns(this.columns, this.listed, state.picked);
    }
    return this.mask ? key : "";
  }

  refresh() {
    const { state, scene } = this.bench;
    const count = scene.runs.length;
    const size = (mask) => (mask ? mask.reduce((sum, one) => sum + one, 0) : count);
    const shown = size(this.mask);
    this.opener.replaceChildren(
      element("span", { className: "name" }, state.follow), element("span", { className: "detail" }, this.mask ? `${shown} of ${count} runs` : `${count} runs`),
    );
    this.opener.setAttribute("aria-expanded", String(Boolean(state.table)));
    this.node.hidden = !state.table;
    if (!state.table) return;
    this.build();
    const picked = new Set(state.picked);
    this.table.show({
      listed: this.listed,
      order: orderedRows(this.columns, this.listed, state.sort),
      ranges: state.ranges.map(readRange),
      sort: state.sort,
      find: state.find,
      found: `${size(this.listed)} of ${count}${state.picked.length ? `, ${shown} selected` : ""}`,
      filtered: this.mask !== null,
      picked: new Set(scene.runs.flatMap(({ name }, run) => (picked.has(name) ? [run] : []))),
      current: scene.runs.findIndex(({ name }) => name === state.follow),
    });
  }

  build() {
    const { scene, dark } = this.bench;
    const key = `${scene.stamp} ${dark} ${scene.runs.length}`;
    if (this.built === key) return;
    this.built = key;
    this.table.setColumns(this.columns, outcomeScale(scene.outcomes, dark).color);
  }

  leave() {
    this.bench.store.pointRun(-1);
    this.bench.store.toggleTable();
    this.opener.focus();
  }
}
