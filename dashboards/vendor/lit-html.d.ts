// The types of what build.js takes of lit-html into lit-html.js.
export { html, nothing, render } from "lit-html";
export type { TemplateResult } from "lit-html";
export { repeat } from "lit-html/directives/repeat.js";
export { styleMap } from "lit-html/directives/style-map.js";
