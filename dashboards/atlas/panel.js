// The panel beside the map: the point that is shown, its columns, the legend.

import { element } from "../shared/dom.js";
import { linkOrText } from "../shared/links.js";
import { cell } from "./data.js";

const MOST_ENTRIES = 40;
const LONG_TITLE = 48;

/** Elements that describe one point. Everything is text, except http and https links. */
export function describe(atlas, byName, index) {
  if (index < 0) {
    const opens = atlas.roles.link ? " A click opens its link." : "";
    return [element("p", { className: "hint" },
      "Each point is one row of the data. Near points have similar vectors; larger distances mean little, " +
      `and axes have no meaning. Hover over a point to read it.${opens}`)];
  }
  const role = (name) => byName.get(atlas.roles[name]);
  const title = cell(role("label"), index) || `row ${index}`;
  /** @type {HTMLElement[]} */
  const parts = [element("h2", { className: title.length > LONG_TITLE ? "long" : "" }, title)];
  const image = cell(role("image"), index);
  if (image.startsWith("data:image/")) {
    parts.push(element("img", { src: image, alt: cell(role("label"), index) || `image of row ${index}` }));
  }
  const text = cell(role("text"), index);
  if (text && role("text") !== role("label")) parts.push(element("p", { className: "words" }, text));
  const link = cell(role("link"), index);
  if (link) parts.push(linkOrText(link, "link"));
  const rest = element("dl", {});
  const special = new Set(["label", "text", "image", "link", "rank", "partner"].map((name) => atlas.roles[name]));
  for (const column of atlas.columns) {
    const value = cell(column, index);
    if (special.has(column.name) || !value) continue;
    rest.append(element("dt", {}, column.name), element("dd", {}, value));
  }
  if (image && !image.startsWith("data:image/")) parts.push(linkOrText(image, "link"));
  parts.push(rest);
  return parts;
}

/** The legend of the colors; its entries filter. */
export function legendOf(legend, only, toggle) {
  if (!legend) return [];
  if (legend.stops) {
    const bar = element("div", { className: "bar", role: "img", "aria-label": "color scale" });
    bar.style.background = `linear-gradient(to right, ${legend.stops.join(",")})`;
    const format = (value) => String(Number(value.toPrecision(3)));
    return [bar, element("p", { className: "ends" },
      element("span", {}, format(legend.low)), element("span", {}, format(legend.high)))];
  }
  const rows = legend.entries.slice(0, MOST_ENTRIES).map((entry) => {
    const dot = element("i", {});
    dot.style.background = entry.color;
    const button = element("button", {
      type: "button", className: "entry", "aria-pressed": String(only.has(entry.code)), title: entry.text,
      onclick: () => toggle(entry.code),
    }, dot, element("span", {}, entry.text), element("b", {}, entry.amount.toLocaleString("en")));
    return element("li", {}, button);
  });
  const left = legend.entries.length - MOST_ENTRIES;
  const more = left > 0 ? [element("p", { className: "hint" }, `and ${left} more`)] : [];
  return [element("ul", {}, ...rows), ...more];
}
