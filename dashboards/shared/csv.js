// CSV that spreadsheets open safely.

/**
 * One line of CSV. Text that a spreadsheet would read as a formula gets an apostrophe before it.
 * @param {unknown[]} values
 */
export function csvLine(values) {
  return `${values.map(csvCell).join(",")}\r\n`;
}

/** @param {unknown} value */
function csvCell(value) {
  const text = String(value ?? "");
  const formula = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) && Number.isNaN(Number(text));
  const cell = formula ? `'${text}` : text;
  return /[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
