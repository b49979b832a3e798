// The state of the page in the part of the address after "#", so that a link shows the same view.

const LISTS = new Set(["off", "layers", "values", "chosen"]);
const NUMBERS = new Set(["step", "point"]);

/** The state that the address tells; what it does not tell stays as in `defaults`. */
export function readAddress(defaults) {
  const told = new URLSearchParams(window.location.hash.slice(1));
  const state = structuredClone(defaults);
  for (const key of Object.keys(defaults)) {
    const value = told.get(key);
    if (value === null) continue;
    if (LISTS.has(key)) state[key] = value === "" ? [] : value.split("~").map(decoded);
    else if (NUMBERS.has(key)) state[key] = Number.isFinite(Number(value)) ? Number(value) : defaults[key];
    else state[key] = value;
  }
  return state;
}

/** Writes what differs from the defaults; the browser's history does not grow. */
export function writeAddress(state, defaults) {
  const told = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (!(key in defaults) || JSON.stringify(value) === JSON.stringify(defaults[key])) continue;
    told.set(key, LISTS.has(key) ? value.map(encoded).join("~") : String(value));
  }
  const hash = told.toString();
  if (window.location.hash.slice(1) === hash) return;
  window.history.replaceState(null, "", hash ? `#${hash}` : window.location.pathname + window.location.search);
}

function encoded(word) {
  return encodeURIComponent(word).replaceAll("~", "%7E");
}

function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}
