// Bundles the pages into built/, which is checked in: `node build.js [FOLDER]`. The file sources.json in that folder
// has a hash of each source, so that a stale bundle can be detected without Node.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const ENTRIES = {
  tab: "page/tab.js",
  report: "page/report.js",
  page: "page/page.css",
  atlas: "atlas/atlas.js",
  "atlas-style": "atlas/atlas.css",
  "comparison-style": "comparison/comparison.css",
};

// The parts of lit-html that the pages use, as one module that browsers can load; it and its license are checked in.
const LIT = `export { html, nothing, render } from "lit-html";
export { repeat } from "lit-html/directives/repeat.js";
export { styleMap } from "lit-html/directives/style-map.js";`;
const license = join(HERE, "node_modules/lit-html/LICENSE");
await esbuild.build({
  stdin: { contents: LIT, resolveDir: HERE },
  outfile: join(HERE, "vendor/lit-html.js"),
  bundle: true,
  minify: true,
  format: "esm",
  // This build checks whether there is a document: unit tests have none.
  platform: "neutral",
  conditions: ["node"],
  legalComments: "eof",
});
copyFileSync(license, join(HERE, "vendor/LICENSE"));

const target = process.argv[2] ?? join(HERE, "built");
const { metafile } = await esbuild.build({
  entryPoints: Object.fromEntries(Object.entries(ENTRIES).map(([name, path]) => [name, join(HERE, path)])),
  outdir: target,
  absWorkingDir: HERE,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox114", "safari16.4"],
  charset: "utf8",
  // The license notices of libraries are at the end of the bundles.
  legalComments: "eof",
  metafile: true,
});
const sources = Object.keys(metafile.inputs)
  .map((path) => relative(HERE, join(HERE, path)).split(sep).join("/"))
  .sort();
const hashes = sources.map((path) => [path, createHash("sha256").update(readFileSync(join(HERE, path))).digest("hex")]);
mkdirSync(target, { recursive: true });
writeFileSync(join(target, "sources.json"), `${JSON.stringify(Object.fromEntries(hashes), null, 2)}\n`);
copyFileSync(license, join(target, "lit-html-LICENSE.txt"));
