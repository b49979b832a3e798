// Search of probe points by text or column, and CSV of those that are found.

import { csvLine } from "../core/csv.js";

/** Points that were searched for and chosen, as a mask; null where all are meant. */
export function searchPoints(scene, query, chosen) {
  const words = query.trim().toLowerCase();
  if (words === "" && chosen.length === 0) return null;
  const { texts, columns } = scene.points;
  const among = new Set(chosen.map(Number));
  const named = words.match(/^([^:]+):\s*(.*)$/);
  const column = named ? Object.keys(columns).find((name) => name.toLowerCase() === named[1].trim()) : null;
  return Array.from({ length: scene.n }, (_, point) => {
    if (among.size > 0 && !among.has(point)) return false;
    if (words === "") return true;
    if (column) return String(columns[column][point]).toLowerCase() === named[2].trim();
    const fields = [texts?.[point], ...Object.values(columns).map((values) => values[point])];
    return fields.some((value) => value !== null && value !== undefined && String(value).toLowerCase().includes(words));
  });
}

/** The points of a mask (null for all) with their columns, texts and links. */
export function pointsCsv(scene, marked) {
  const { columns, texts, links } = scene.points;
  const parts = Object.entries({ ...columns, ...(texts ? { text: texts } : {}), ...(links ? { link: links } : {}) });
  const rows = Array.from({ length: scene.n }, (_, point) => point)
    .filter((point) => !marked || marked[point])
    .map((point) => [point, ...parts.map(([, values]) => values[point])]);
  const lines = [["point", ...parts.map(([name]) => name)], ...rows].map(csvLine);
  return new Blob(lines, { type: "text/csv" });
}
