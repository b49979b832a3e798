// The state of the page in its address, so that a link shows the same view: after "#", or inside
// TensorBoard, whose own address the user sees, in its parameter "repwatch".

const PARAMETER = "repwatch";

/** @type {Window | null} */
let host = null;

/** @type {string | null} What was last read from the address or written to it. */
let known = null;

/**
 * Uses the address of another window of this origin from now on.
 * @param {Window} other
 */
export function useAddressOf(other) {
  host = other;
  known = null;
}

function readText() {
  if (host) return new URL(host.location.href).searchParams.get(PARAMETER) ?? "";
  return window.location.hash.slice(1);
}

/** @param {string} text */
function writeText(text) {
  const present = readText();
  // Keep an address that the user has just edited: the page is about to read it.
  if (text === present || (!host && known !== null && present !== known)) return;
  const address = new URL((host ?? window).location.href);
  if (!host) address.hash = text;
  else if (text) address.searchParams.set(PARAMETER, text);
  else address.searchParams.delete(PARAMETER);
  (host ?? window).history.replaceState((host ?? window).history.state, "", address);
  known = readText();
}

/** The address that the user sees, to be copied. */
export function currentLink() {
  return (host ?? window).location.href;
}

/**
 * Reads the state from the address; values that are missing there, or are not numbers where numbers are expected, come
 * from `defaults`.
 * @template {Record<string, string | number | string[]>} S
 * @param {S} defaults
 * @returns {S}
 */
export function readAddress(defaults) {
  known = readText();
  return parseState(known, defaults);
}

/**
 * Writes what differs from the defaults, without a new entry in the browser's history.
 * @param {Record<string, string | number | string[]>} state
 * @param {Record<string, string | number | string[]>} defaults
 */
export function writeAddress(state, defaults) {
  writeText(formatState(state, defaults));
}

/**
 * The state from its text. A value has the type of its default: a string, a number or a list of strings.
 * @template {Record<string, string | number | string[]>} S
 * @param {string} text
 * @param {S} defaults
 * @returns {S}
 */
export function parseState(text, defaults) {
  const parameters = new URLSearchParams(text);
  /** @type {Record<string, string | number | string[]>} */
  const state = structuredClone(defaults);
  for (const [key, usual] of Object.entries(defaults)) {
    const value = parameters.get(key);
    if (value === null) continue;
    if (Array.isArray(usual)) state[key] = value === "" ? [] : value.split("~").map(decoded);
    else if (typeof usual === "number") state[key] = Number.isFinite(Number(value)) ? Number(value) : usual;
    else state[key] = value;
  }
  return /** @type {S} */ (state);
}

/**
 * The part of a state that differs from the defaults, as text.
 * @param {Record<string, string | number | string[]>} state
 * @param {Record<string, string | number | string[]>} defaults
 */
export function formatState(state, defaults) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (!(key in defaults) || JSON.stringify(value) === JSON.stringify(defaults[key])) continue;
    parameters.set(key, Array.isArray(value) ? value.map(encoded).join("~") : String(value));
  }
  return parameters.toString();
}

/** @param {string} word */
function encoded(word) {
  return encodeURIComponent(word).replaceAll("~", "%7E");
}

/** @param {string} word */
function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}
