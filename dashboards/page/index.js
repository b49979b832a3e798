// The shell inside TensorBoard: the page of a registry where there is one, else figures from event
// files: which there are, which one is shown, and staying live.
// TensorBoard loads this module in a frame of its own origin and calls render().

import { useAddressOf } from "../core/address.js";
import { Live } from "./live.js";
import { Page } from "./figure-page.js";
import { unpack } from "../core/payload.js";

// This module is page/index.js below the routes of the plugin.
const ROUTES = new URL("../", import.meta.url);
const PAUSE = 15000;
const LONGEST_PAUSE = 120000;
const MAX_CACHED = 40;
const POINT_TO_REGISTRY =
  "To look into representations and points too, show TensorBoard the registry: --repwatch_registry PATH/repwatch.db";

export async function render() {
  const root = document.createElement("div");
  root.id = "app";
  document.body.append(root);
  const registries = await findRegistries();
  if (registries.length > 0) await showPage(root, registries);
  else await showFigures(root);
}

async function findRegistries() {
  try {
    return (await fetchJson("registries")).registries;
  } catch {
    // The view of figures reports the failure and retries.
    return [];
  }
}

async function showPage(root, registries) {
  document.body.className = "workbench";
  await addStyles("core/tokens.css", "core/base.css", "page/panels.css", "page/workbench.css");
  if (tensorBoard()) useAddressOf(tensorBoard());
  const live = new Live(root, registries, async (route, parameters) => {
    const reply = await fetchReply(`${route}?${new URLSearchParams(parameters)}`);
    return { content: await reply.json(), tag: reply.headers.get("ETag") };
  });
  followTheme((dark) => live.setTheme(dark));
  listenToParent("experimental.DataReloaded", () => live.refresh());
  await live.refresh();
  keepLooking(() => live.refresh());
}

async function showFigures(root) {
  await addStyles("core/tokens.css", "core/base.css", "page/figure.css");
  const tab = new Tab(root);
  followTheme((dark) => tab.page.setTheme(dark));
  listenToParent("experimental.DataReloaded", () => tab.refresh());
  tab.page.resize();
  await tab.start();
}

function addStyles(...names) {
  return Promise.all(names.map(addStyle));
}

function addStyle(name) {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = new URL(name, ROUTES).href;
  document.head.append(style);
  return new Promise((resolve) => {
    style.addEventListener("load", resolve);
    style.addEventListener("error", resolve);
  });
}

/** Polls, less often while it fails. A hidden tab does not poll. */
function keepLooking(act, failures = 0) {
  setTimeout(async () => {
    const looked = document.visibilityState === "visible" && window.innerHeight > 0;
    const fine = looked ? await act() : true;
    keepLooking(act, fine ? 0 : failures + 1);
  }, Math.min(PAUSE * 2 ** failures, LONGEST_PAUSE));
}

class Tab {
  constructor(root) {
    this.page = new Page(root, loadPlotly);
    this.page.advise(POINT_TO_REGISTRY);
    this.index = {};
    this.run = null;
    this.tag = null;
    this.step = null;
    this.following = true;
    this.figures = new Map();
    this.asked = 0;
  }

  async start() {
    this.page.say("loading", "Reading the figures …");
    await this.refresh();
    keepLooking(() => this.refresh());
  }

  /** Reads what there is; returns whether the server responded. */
  async refresh() {
    try {
      const { runs } = await fetchJson("figures");
      this.index = Object.fromEntries(runs.map(({ run, tags }) => [run, tags]));
    } catch (error) {
      // What is drawn stays; only the status line says that it may be out of date.
      if (this.page.figure) this.page.setStatus("TensorBoard does not respond");
      else this.page.say("error", "TensorBoard does not respond.", `${error.message}\nIs it still running? This page retries automatically.`);
      return false;
    }
    if ((await findRegistries()).length > 0) window.location.reload();
    await this.choose();
    return true;
  }

  /** Retains what the reader chose where it still exists, else takes the newest. */
  async choose() {
    const runs = Object.keys(this.index);
    if (runs.length === 0) {
      this.page.setPickers([]);
      this.page.say(
        "empty",
        "No map yet.",
        "Add RepWatch() to the callbacks of a Trainer that has a TensorBoardLogger, and train.\n" +
          "The first map appears with the first snapshot; this page checks again automatically.\n" +
          `${POINT_TO_REGISTRY}`,
      );
      return;
    }
    if (!(this.run in this.index)) this.run = newest(this.index);
    const tags = this.index[this.run];
    if (!tags.some(({ tag }) => tag === this.tag)) this.tag = tags[0].tag;
    this.page.setPickers([
      { label: "Run", names: runs, chosen: this.run, onChange: (run) => this.pick({ run }) },
      { label: "Figure", names: tags.map(({ tag }) => tag), chosen: this.tag, onChange: (tag) => this.pick({ tag }) },
    ]);
    const steps = this.chosenSteps();
    if (this.following || !steps.includes(this.step)) this.step = steps.at(-1);
    this.page.setSteps(steps, steps.indexOf(this.step), (at, step) => {
      this.step = step;
      this.following = at === this.chosenSteps().length - 1;
      this.show();
    });
    await this.show();
  }

  chosenSteps() {
    return this.index[this.run].find(({ tag }) => tag === this.tag).steps;
  }

  pick({ run = this.run, tag = this.tag }) {
    this.run = run;
    this.tag = tag;
    this.following = true;
    return this.choose();
  }

  async show() {
    const turn = ++this.asked;
    const key = new URLSearchParams({ run: this.run, tag: this.tag, step: this.step }).toString();
    this.page.setStatus(this.following ? "following the newest step" : "");
    if (key === this.shown) return;
    try {
      const figure = await this.fetchFigure(key);
      // The reader may have moved on while this one was on its way.
      if (turn !== this.asked) return;
      this.shown = key;
      await this.page.show(figure);
    } catch (error) {
      if (turn !== this.asked) return;
      this.shown = null;
      this.page.say("error", `Step ${this.step} cannot be shown.`, `${error.message}\nChoose another step or run, or reload.`);
    }
  }

  async fetchFigure(key) {
    if (!this.figures.has(key)) {
      const figure = unpack(await fetchJson(`figure?${key}`));
      this.figures.set(key, figure);
      if (this.figures.size > MAX_CACHED) this.figures.delete(this.figures.keys().next().value);
    }
    return this.figures.get(key);
  }
}

function newest(index) {
  const time = (run) => Math.max(...index[run].map(({ time }) => time));
  return Object.keys(index).reduce((best, run) => (time(run) > time(best) ? run : best));
}

async function fetchJson(address) {
  return (await fetchReply(address)).json();
}

async function fetchReply(address) {
  // "no-cache" asks every time, and costs a short 304 when nothing changed.
  const reply = await fetch(new URL(address, ROUTES), { cache: "no-cache", credentials: "same-origin" });
  if (!reply.ok) throw new Error(`The response was ${reply.status}: ${(await reply.text()).slice(0, 200)}`);
  return reply;
}

let plotly = null;

/** plotly.js, once, from the plugin's own route. */
function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", ROUTES).href;
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      plotly = null;
      reject(new Error("plotly.min.js did not load. Reinstall it: pip install 'plotly>=6.0'"));
    });
    document.head.append(script);
  });
  return plotly;
}

/** The window around this one, where it is of the same origin; null where there is none. */
function tensorBoard() {
  try {
    return window.parent !== window && window.parent.document ? window.parent : null;
  } catch {
    return null;
  }
}

/** TensorBoard does not pass its theme to plugins: the parent's body has the class. */
function followTheme(apply) {
  const body = tensorBoard()?.document.body ?? null;
  if (body === null) {
    const theme = window.matchMedia("(prefers-color-scheme: dark)");
    theme.addEventListener("change", () => apply(theme.matches));
    apply(theme.matches);
    return;
  }
  const read = () => apply(body.classList.contains("dark-mode"));
  new window.parent.MutationObserver(read).observe(body, { attributes: true, attributeFilter: ["class"] });
  read();
}

/** TensorBoard's channel to plugins: JSON messages, each to be answered. */
function listenToParent(type, act) {
  if (window.parent === window) return;
  const channel = new MessageChannel();
  channel.port1.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.isReply) return;
    if (message.type === type) act();
    const reply = { type: message.type, id: message.id, payload: null, error: null, isReply: true };
    channel.port1.postMessage(JSON.stringify(reply));
  });
  channel.port1.start();
  window.parent.postMessage("experimental.bootstrap", window.location.origin, [channel.port2]);
}
