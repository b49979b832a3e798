// The shell inside TensorBoard: the page of a registry, kept up to date, or a message about what is missing.
// TensorBoard loads this module in a frame of its own origin and calls render().

import { useAddressOf } from "../shared/address.js";
import { element, messageOf } from "../shared/dom.js";
import { Live } from "./live.js";

// This module is tab.js below the routes of the plugin.
const ROUTES = new URL("./", import.meta.url);
const PAUSE = 15000;
const LONGEST_PAUSE = 120000;
const MISSING =
  "RepWatch shows a registry: the file repwatch.db that RepWatch() writes. There is none in, below or beside the log " +
  "directory. Add RepWatch() to the callbacks of a Trainer and train, or start TensorBoard with " +
  "--repwatch_registry PATH/repwatch.db. This page checks again automatically.";

export async function render() {
  const root = element("div", { id: "app" });
  document.body.className = "workbench";
  document.body.append(root);
  await addStyle("page.css");
  const parent = tensorBoard();
  if (parent) useAddressOf(parent);
  const tab = new Tab(root);
  followTheme((dark) => tab.setTheme(dark));
  listenToParent("experimental.DataReloaded", () => tab.refresh());
  await tab.refresh();
  keepLooking(() => tab.refresh());
}

/** The page of a registry once there is one. */
class Tab {
  constructor(root) {
    this.root = root;
    this.dark = false;
    /** @type {Live | null} */
    this.live = null;
  }

  /** Reads what has changed; returns whether the server responded. */
  async refresh() {
    try {
      if (!this.live && !(await this.open())) return true;
    } catch (error) {
      this.say("error", "TensorBoard does not respond.", `${messageOf(error)} Is it still running? This page retries automatically.`);
      return false;
    }
    return this.live?.refresh() ?? true;
  }

  /** Whether there is a registry to show. */
  async open() {
    const { registries } = await (await fetchReply("registries")).json();
    if (registries.length === 0) {
      this.say("empty", "No registry found.", MISSING);
      return false;
    }
    this.live = new Live(this.root, registries, async (route, parameters) => {
      const reply = await fetchReply(`${route}?${new URLSearchParams(parameters)}`);
      return { content: await reply.json(), tag: reply.headers.get("ETag") };
    });
    this.live.setTheme(this.dark);
    return true;
  }

  setTheme(dark) {
    this.dark = dark;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.live?.setTheme(dark);
  }

  say(state, title, advice) {
    document.body.dataset.state = state;
    const words = element("div", { className: "message", role: "status" }, element("h2", {}, title), element("p", {}, advice));
    this.root.replaceChildren(element("header", {}, element("h1", {}, "RepWatch")), words);
  }
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

async function fetchReply(address) {
  // "no-cache" asks the server every time, which costs a short 304 if nothing has changed.
  const reply = await fetch(new URL(address, ROUTES), { cache: "no-cache", credentials: "same-origin" });
  if (!reply.ok) throw new Error(`The response was ${reply.status}: ${(await reply.text()).slice(0, 200)}`);
  return reply;
}

/** The window around this one if it has the same origin, else null. */
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
  new MutationObserver(read).observe(body, { attributes: true, attributeFilter: ["class"] });
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
