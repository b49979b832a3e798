// Search for probe points by text or column, and CSV of those that are found.

import { csvLine } from "../shared/csv.js";

/**
 * The points that match the search and the choice, as a mask; null for all.
 * @param {import("../document/scene.js").Scene} scene
 * @param {string} query
 * @param {string[]} chosen
 */
export function searchPoints(scene, query, chosen) {
  const words = query.trim().toLowerCase();
  if (words === "" && chosen.length === 0) return null;
  const { texts, columns } = scene.points;
  const among = new Set(chosen.map(Number));
  const [, wantedColumn = "", wantedValue = ""] = words.match(/^([^:]+):\s*(.*)$/) ?? [];
  const column = Object.keys(columns).find((name) => name.toLowerCase() === wantedColumn.trim());
  return Array.from({ length: scene.n }, (_, point) => {
    if (among.size > 0 && !among.has(point)) return false;
    if (words === "") return true;
    if (column) return String(columns[column][point]).toLowerCase() === wantedValue.trim();
    const fields = [texts?.[point], ...Object.values(columns).map((values) => values[point])];
    return fields.some((value) => value !== null && value !== undefined && String(value).toLowerCase().includes(words));
  });
}

/**
 * The points of a mask (null for all) with their columns, texts and links.
 * @param {import("../document/scene.js").Scene} scene
 * @param {boolean[] | null} marked
 */
export function pointsCsv(scene, marked) {
  const { columns, texts, links } = scene.points;
  const parts = Object.entries({ ...columns, ...(texts ? { text: texts } : {}), ...(links ? { link: links } : {}) });
  const rows = Array.from({ length: scene.n }, (_, point) => point)
    .filter((point) => !marked || marked[point])
    .map((point) => [point, ...parts.map(([, values]) => values[point])]);
  const lines = [["point", ...parts.map(([name]) => name)], ...rows].map(csvLine);
  return new Blob(lines, { type: "text/csv" });
}
