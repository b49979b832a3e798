// The page of a registry inside TensorBoard: read in pieces, and again while a training run writes to it.

import { element, messageOf } from "../shared/dom.js";
import { Scene } from "../document/scene.js";
import { Workbench } from "./workbench.js";
import { choice } from "../shared/widgets.js";

const DISTANCES = ["euclidean", "cosine", "pearson", "spearman", "cka"];

/** `ask(route, parameters)` returns a promise of {content, tag}. */
export class Live {
  /** @type {Workbench | null} */
  bench = null;
  /** @type {string | null} the tag of the document that is shown */
  tag = null;
  /** @type {import("../types.js").Points | null} */
  points = null;
  probe = "";

  constructor(root, registries, ask) {
    this.root = root;
    this.registries = registries;
    this.ask = ask;
    this.key = registries[0].key;
    this.dark = false;
  }

  /** Reads what has changed; returns whether the server responded. */
  async refresh() {
    const { key } = this;
    if (!this.bench) this.say("loading", "Reading the registry …",
      "The first map of many landmarks takes a few seconds.");
    try {
      const { content: page, tag } = await this.ask("page", { registry: key });
      if (key !== this.key || tag === this.tag) return true;
      if (page.runs.length === 0) {
        this.say("empty", "No runs in this registry yet.", "Add RepWatch() to the callbacks of a Trainer and train; this page checks again automatically.");
        return true;
      }
      await this.show(key, page, tag);
      this.setStatus("");
      return true;
    } catch (error) {
      if (this.bench) this.setStatus("TensorBoard does not respond; what is shown may be out of date.");
      else this.say("error", "The registry cannot be read.", `${messageOf(error)} This page retries automatically.`);
      return false;
    }
  }

  async show(key, page, tag) {
    const known = this.points && this.probe === page.probe;
    const points = known ? this.points : (await this.ask("points", { registry: key, probe: page.probe })).content;
    if (key !== this.key) return;
    Object.assign(this, { points, probe: page.probe, tag });
    const scene = new Scene({ page, points, stamp: tag }, this.source(key));
    if (this.bench && known) await this.bench.replace(scene);
    else {
      this.bench?.leave();
      this.bench = new Workbench(this.root, scene);
      this.bench.setTheme(this.dark);
      this.offerRegistries();
      await this.bench.ready;
    }
  }

  source(registry) {
    const read = async (route, parameters) => (await this.ask(route, { registry, ...parameters })).content;
    const encode = (layers) => (layers.length ? { layers: JSON.stringify(layers) } : {});
    return {
      distances: DISTANCES,
      views: (run, layer) => read("views", { run, layer }),
      map: (method, distance, layers) => read("positions", { method, distance, ...encode(layers) }),
      compare: (a, b) => read("compare", { a, b }),
      direction: async (id, column, start, end) => (await read("direction", { id, column, start, end })).places,
    };
  }

  offerRegistries() {
    const picker = choice("Registry", (key) => {
      this.bench?.leave();
      Object.assign(this, { key, bench: null, points: null, tag: null });
      this.refresh();
    });
    picker.show(this.registries.map(({ key, name }) => [key, name]), this.key);
    this.bench?.toolbar.offer(picker.node);
  }

  setTheme(dark) {
    this.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.bench?.setTheme(dark);
  }

  setStatus(text) {
    this.bench?.say(text);
  }

  say(state, title, advice) {
    document.body.dataset.state = state;
    this.bench?.leave();
    this.bench = null;
    const words = element("div", { className: "message", role: "status" }, element("h2", {}, title), element("p", {}, advice));
    this.root.replaceChildren(element("header", {}, element("h1", {}, "RepWatch")), words);
  }
}
