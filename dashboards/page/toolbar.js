// The top of the page: view, run, search and selection of points; and the controls beside the pictures.

import { pointsCsv } from "../point/search.js";
import { element } from "../shared/dom.js";
import { download } from "../shared/links.js";
import { render } from "../shared/lists.js";
import { buttonRow, choice, legend, pressable } from "../shared/widgets.js";

const KEYS = [
  ["Arrows", "move between points"],
  ["Enter", "hold the highlighted point"],
  ["Escape", "release it"],
  ["Space", "play the steps"],
  ["[ and ]", "change the step"],
  ["P", "pin a representation"],
  ["R", "open the table of runs"],
  ["/", "go to the search"],
];

export class Toolbar {
  /** @param {import("./workbench.js").Workbench} bench */
  constructor(bench) {
    this.bench = bench;
    this.modes = buttonRow("View", [["space", "Space"], ["pair", "Side by side"], ["gallery", "Gallery"]], (mode) => bench.store.showMode(mode));
    this.link = pressable("Copy link", () => this.copyLink(), { className: "plain", title: "Copy a link to exactly this view" });
    this.search = element("input", { type: "search", placeholder: "Find points: text, label:3", "aria-label": "Find probe points by text or column" });
    this.search.addEventListener("input", () => bench.store.search(this.search.value));
    this.found = element("output", { className: "detail" });
    this.lasso = pressable("Lasso", () => bench.store.toggleLasso(), { "aria-pressed": "false", title: "Draw around points to select them (or drag with Shift)" });
    this.csv = pressable("CSV", () => this.saveCsv(), { title: "Save the selected or found points as CSV" });
    this.clear = pressable("Clear", () => bench.store.clearPoints(), { title: "Clear the search and the selection" });
    this.status = element("p", { className: "status", role: "status" });
    const tools = element("div", { className: "tools" }, this.search, this.found, this.lasso, this.csv, this.clear);
    const rows = KEYS.flatMap(([name, act]) => [element("dt", {}, name), element("dd", {}, act)]);
    const keys = element("details", { className: "menu" }, element("summary", {}, "Keys"), element("dl", {}, ...rows));
    this.node = element("header", {}, element("h1", {}, "RepWatch"), this.modes.node, bench.runTable.opener, tools, this.link, keys, this.status);
    // One set of controls, which moves to the pictures that are shown.
    this.layout = buttonRow("Picture", [["pca", "PCA"], ["tsne", "t-SNE"], ["graph", "Graph"]], (view) => bench.store.showPicture(view));
    this.layout.node.title = "PCA shows the representation's RDM; t-SNE and graph are computed in the browser from each point's nearest neighbors.";
    this.column = choice("Color", (by) => bench.store.colorPoints(by));
    this.marks = choice("Marks", (marks) => bench.store.showMarks(marks));
    this.legend = element("div", { className: "legend", role: "group", "aria-label": "Values of probe points" });
    this.pin = pressable("Pin", () => bench.store.pinSelected(), { title: "Pin this representation for Side by side (P)" });
  }

  refresh(panel) {
    const { scene, state, marked } = this.bench;
    this.modes.show(state.mode);
    this.layout.show(state.view);
    this.column.show(Object.keys(scene.points.columns).map((name) => [name, name]), state.by);
    this.marks.show(scene.points.sprite && state.mode !== "gallery" ? [["thumbnails", "thumbnails"], ["dots", "dots"]] : [], state.marks);
    if (this.search.value !== state.query) this.search.value = state.query;
    this.found.textContent = marked ? `${marked.filter(Boolean).length} of ${scene.n}` : "";
    this.csv.disabled = this.clear.disabled = !marked;
    render(legend(this.bench.pointScale, new Set(state.values), (name) => this.bench.store.toggleValue(name)), this.legend);
    if (this.layout.node.parentNode === panel.controls) return;
    panel.controls.append(this.layout.node, this.column.node, this.marks.node);
    (panel.foot ?? panel.controls).append(this.legend);
  }

  /** Copies the address; if the browser refuses, shows it so that it can be copied by hand. */
  async copyLink() {
    const link = this.bench.link();
    try {
      await navigator.clipboard.writeText(link);
      this.say("Link copied. It opens exactly this view.");
    } catch {
      const field = element("input", { value: link, readOnly: true, className: "link", "aria-label": "Link to this view" });
      this.say("Copy this link: ", field);
      field.select();
    }
  }

  say(...words) {
    this.status.replaceChildren(...words);
  }

  /** Adds a control before the status. */
  offer(node) {
    this.status.before(node);
  }

  showLasso(lassoing) {
    this.lasso.setAttribute("aria-pressed", String(lassoing));
  }

  saveCsv() {
    download("repwatch-points.csv", pointsCsv(this.bench.scene, this.bench.marked));
  }
}

/** Closes the open menus except the one that contains the target; returns whether there were any. */
export function closeMenus(target) {
  const open = [.../** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details[open]"))].filter((menu) => !menu.contains(target));
  for (const menu of open) menu.open = false;
  return open.length > 0;
}
