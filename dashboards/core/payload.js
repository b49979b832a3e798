// Reads the payloads that repwatch.integrations.plotly_figures writes: each distinct line of text is stored once.

const VERSION = 1;

/** The figure ({data, layout}) out of a parsed payload. */
export function unpack(document) {
  if (document.version !== VERSION) {
    throw new Error(
      `This figure has payload version ${document.version}, this page reads version ${VERSION}. ` +
        "Open it with the RepWatch that wrote it.",
    );
  }
  const { lines } = document;
  return { data: expand(document.data, lines), layout: expand(document.layout, lines) };
}

function expand(value, lines) {
  if (Array.isArray(value)) return value.map((item) => expand(item, lines));
  if (value === null || typeof value !== "object") return value;
  if (value.$text) return texts(value, lines);
  if (value.bdata && value.dtype) return numbers(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expand(item, lines)]));
}

function texts({ $text: array, width }, lines) {
  const codes = numbers(array);
  const rows = [];
  for (let start = 0; start < codes.length; start += width) {
    const row = [];
    for (let at = start; at < start + width; at += 1) {
      if (codes[at] > 0) row.push(lines[codes[at] - 1]);
    }
    rows.push(row.join("<br>"));
  }
  return rows;
}

const KINDS = {
  i1: [1, "getInt8"],
  u1: [1, "getUint8"],
  i2: [2, "getInt16"],
  u2: [2, "getUint16"],
  i4: [4, "getInt32"],
  u4: [4, "getUint32"],
  f4: [4, "getFloat32"],
  f8: [8, "getFloat64"],
};

function numbers({ dtype, bdata }) {
  const [size, read] = KINDS[dtype];
  const bytes = Uint8Array.from(atob(bdata), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / size }, (_, index) => view[read](index * size, true));
}
