// Bundles the pages into built/, which is checked in: `node build.js [FOLDER]`. The file sources.json beside them
// holds a hash of each source, so that a stale bundle is found where there is no node.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
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
  legalComments: "none",
  metafile: true,
});
const sources = Object.keys(metafile.inputs)
  .map((path) => relative(HERE, join(HERE, path)).split(sep).join("/"))
  .sort();
const hashes = sources.map((path) => [path, createHash("sha256").update(readFileSync(join(HERE, path))).digest("hex")]);
mkdirSync(target, { recursive: true });
writeFileSync(join(target, "sources.json"), `${JSON.stringify(Object.fromEntries(hashes), null, 2)}\n`);
