// The shell of a comparison of two runs: one heatmap in the page, its colors the system's theme.

import { element } from "../core/dom.js";
import { recolor } from "./map.js";
import { unpack } from "../core/payload.js";

const SETTINGS = { displayModeBar: false, responsive: true };

async function openComparison() {
  const figure = unpack(JSON.parse(document.getElementById("figure").textContent));
  const { meta } = figure.layout;
  const plot = element("div", { role: "img", "aria-label": meta.verdict });
  document.getElementById("app").replaceChildren(plot);
  const theme = window.matchMedia("(prefers-color-scheme: dark)");
  const draw = async () => {
    document.documentElement.dataset.theme = theme.matches ? "dark" : "light";
    const { data, layout } = theme.matches ? recolor(figure, meta.dark) : figure;
    await window.Plotly.react(plot, data, layout, SETTINGS);
    document.body.dataset.state = "drawn";
  };
  theme.addEventListener("change", draw);
  await draw();
}

openComparison();
