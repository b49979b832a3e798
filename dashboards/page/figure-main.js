// The shell of a self-contained report: the figure is in the page, the theme is the system's.

import { Page } from "./figure-page.js";
import { unpack } from "../core/payload.js";

function start() {
  const page = new Page(document.getElementById("app"), async () => window.Plotly);
  const theme = window.matchMedia("(prefers-color-scheme: dark)");
  page.setTheme(theme.matches);
  theme.addEventListener("change", () => page.setTheme(theme.matches));
  const figure = unpack(JSON.parse(document.getElementById("figure").textContent));
  const { meta } = figure.layout;
  if (!meta || meta.kind !== "map") {
    page.say("error", "This figure is not a map.", "Make it with repwatch.integrations.plotly_figures.map_figure.");
    return;
  }
  if (meta.current.length === 1) page.setPickers([{ label: "Run", names: [meta.current[0].name] }]);
  page.setSteps(meta.steps, meta.steps.length - 1, (_, step) => page.show(figure, step));
  page.show(figure);
}

start();
