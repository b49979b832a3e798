// The state of the page in its address, so that a link shows the same view: after "#", or inside
// TensorBoard, whose own address the user sees, in its parameter "repwatch".

const PARAMETER = "repwatch";

const LISTS = new Set(["off", "layers", "values", "chosen", "ranges", "picked"]);
const NUMBERS = new Set(["step", "point"]);

let host = null;

/** Uses the address of another window of this origin from now on. */
export function useAddressOf(other) {
  host = other;
}

function readText() {
  if (host) return new URL(host.location.href).searchParams.get(PARAMETER) ?? "";
  return window.location.hash.slice(1);
}

function writeText(text) {
  if (text === readText()) return;
  const address = new URL((host ?? window).location.href);
  if (!host) address.hash = text;
  else if (text) address.searchParams.set(PARAMETER, text);
  else address.searchParams.delete(PARAMETER);
  (host ?? window).history.replaceState((host ?? window).history.state, "", address);
}

/** The address that the user sees, to be copied. */
export function currentLink() {
  return (host ?? window).location.href;
}

/** Reads the state from the address; what is missing there is as in `defaults`. */
export function readAddress(defaults) {
  const parameters = new URLSearchParams(readText());
  const state = structuredClone(defaults);
  for (const key of Object.keys(defaults)) {
    const value = parameters.get(key);
    if (value === null) continue;
    if (LISTS.has(key)) state[key] = value === "" ? [] : value.split("~").map(decoded);
    else if (NUMBERS.has(key)) state[key] = Number.isFinite(Number(value)) ? Number(value) : defaults[key];
    else state[key] = value;
  }
  return state;
}

/** Writes what differs from the defaults, without a new entry in the browser's history. */
export function writeAddress(state, defaults) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (!(key in defaults) || JSON.stringify(value) === JSON.stringify(defaults[key])) continue;
    parameters.set(key, LISTS.has(key) ? value.map(encoded).join("~") : String(value));
  }
  writeText(parameters.toString());
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
