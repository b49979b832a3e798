// The shell of a report: the document is in the page, and the theme is the system's.

import { byId, element, messageOf } from "../shared/dom.js";
import { Scene } from "../document/scene.js";
import { inflate } from "../document/unpack.js";
import { Workbench } from "./workbench.js";

async function openReport() {
  const root = byId("app");
  try {
    const whole = JSON.parse(new TextDecoder().decode(await inflate(byId("scene").textContent ?? "")));
    whole.streams = JSON.parse(byId("streams").textContent ?? "[]");
    const bench = new Workbench(root, new Scene(whole));
    bench.say(`${whole.page.registry}, ${whole.made}`);
    const theme = window.matchMedia("(prefers-color-scheme: dark)");
    bench.setTheme(theme.matches);
    theme.addEventListener("change", () => bench.setTheme(theme.matches));
  } catch (error) {
    document.body.dataset.state = "error";
    root.replaceChildren(element("h1", {}, "RepWatch"), element("p", {}, messageOf(error)));
  }
}

openReport();
