// CSV that spreadsheets open safely.

/** One line of CSV. Text that a spreadsheet would read as a formula gets an apostrophe before it. */
export function csvLine(values) {
  return `${values.map(csvCell).join(",")}\r\n`;
}

function csvCell(value) {
  const formula = typeof value === "string" && /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value));
  const text = formula ? `'${value}` : String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
