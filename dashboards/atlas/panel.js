// The panel beside the map: the point that is shown, its columns, the legend.

import { element } from "../shared/dom.js";
import { linkOrText } from "../shared/links.js";
import { dot, html, listOf, nothing, ramp } from "../shared/lists.js";
import { cell } from "./data.js";

const MOST_ENTRIES = 40;
const LONG_TITLE = 48;

/** Elements that describe one point. Everything is text, except http and https links. */
export function describe(atlas, byName, index) {
  if (index < 0) {
    const opens = atlas.roles.link ? " A click opens its link." : "";
    return [element("p", { className: "hint" },
      "Each point is one row of the data. Nearby points have similar vectors; larger distances mean little, " +
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
  if (!legend) return nothing;
  if (legend.stops) {
    const format = (value) => String(Number(value.toPrecision(3)));
    return html`<div role="img" aria-label="color scale">${ramp("bar", legend.stops)}</div><p class="ends"><span>${
      format(legend.low)}</span><span>${format(legend.high)}</span></p>`;
  }
  const left = legend.entries.length - MOST_ENTRIES;
  return html`<ul>${listOf(legend.entries.slice(0, MOST_ENTRIES), ({ code }) => code, (entry) => html`<li><button type="button"
    class="entry" aria-pressed=${String(only.has(entry.code))} title=${entry.text} @click=${() => toggle(entry.code)}>${
  dot(entry.color)}<span>${entry.text}</span><b>${entry.amount.toLocaleString("en")}</b></button></li>`)}</ul>${
    left > 0 ? html`<p class="hint">and ${left} more</p>` : nothing}`;
}
