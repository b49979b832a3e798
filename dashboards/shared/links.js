// Links from data: only http and https become links; anything else stays text.

import { element } from "./dom.js";

/**
 * The address if it is http or https, else null.
 * @param {string} text
 */
export function safeLink(text) {
  try {
    const address = new URL(text);
    return ["http:", "https:"].includes(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

/**
 * A paragraph with the link, which opens in a new tab; with plain text where the link is not safe.
 * @param {string} text
 * @param {string} className
 */
export function linkOrText(text, className) {
  const address = safeLink(text);
  if (!address) return element("p", { className }, text);
  return element("p", { className }, element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text));
}

/**
 * Saves a blob as a file.
 * @param {string} name
 * @param {Blob} blob
 */
export function download(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, "-") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
