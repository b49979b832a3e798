// What the modules hand to each other. The documents are those of repwatch/page and repwatch/atlas.

import type { Scene } from "./document/scene.js";

export type Value = string | number | boolean | null;

/** Positions of n points. */
export interface Places {
  x: Float32Array;
  y: Float32Array;
}

/** A picture of a representation; `near` are the k nearest neighbors of each point, one after another. */
export interface View extends Places {
  near: Uint16Array;
}

/** A map of all snapshots. */
export interface SnapshotMap extends Places {
  method: string;
  distance: string;
  layers: string[] | null;
  causes: { name: string; x: number; y: number }[];
}

export interface MapRow extends Omit<SnapshotMap, "x" | "y"> {
  x: string;
  y: string;
}

export interface RunRow {
  name: string;
  label: string | null;
  cause: string | null;
  status: string | null;
  hparams: Record<string, Value>;
  metrics: Record<string, number>;
}

export interface Flag {
  run: string;
  kind: string;
  step: number | null;
  epoch: number | null;
  layer: string | null;
  message: string;
  cause: string | null;
  probability: number | null;
  evidence: Record<string, unknown>;
}

export interface Trajectory {
  run: string;
  layer: string;
  snapshots: number[];
  /** the place among the streams of a report */
  views: number | null;
  excerpts: number | null;
}

export interface Strip {
  kind: "good" | "change";
  good: number;
  needed: number;
  values: (number | null)[];
  spreads: (number | null)[];
}

export interface Page {
  version: number;
  kind: string;
  registry: string;
  probe: string;
  points: number;
  neighbors: number;
  runs: RunRow[];
  current: string[];
  layers: string[];
  layer: string;
  settings: string[];
  metric: string | null;
  snapshots: { id: number[]; run: number[]; layer: number[]; step: number[]; epoch: (number | null)[]; diverged: number[] };
  values: Record<string, (number | string | null)[]>;
  trajectories: Trajectory[];
  flags: Flag[];
  maps: MapRow[];
  distances: { name: string; width: number; scale: number; rows: string };
  strip: Strip;
  notes: string[];
}

export interface Sprite {
  source: string;
  width: number;
  height: number;
  across: number;
}

export interface Points {
  count: number;
  columns: Record<string, Value[]>;
  texts: (string | null)[] | null;
  links: (string | null)[] | null;
  sprite: Sprite | null;
}

export interface Comparisons {
  snapshots: number[];
  measures: Record<string, string>;
  euclidean: { scale: number; rows: string };
  mantel: [number, number, number][];
  permutations: number;
  errors: Record<string, number | null>;
}

/** A document: that of the tab has page and points, that of a report all. */
export interface Whole {
  page: Page;
  points: Points;
  stamp?: string;
  streams?: string[];
  excerpted?: number[];
  comparisons?: Comparisons;
  made?: string;
}

export interface Estimated {
  points: number;
  pairs: number;
  errors: Record<string, number | null>;
}

export interface Mantel {
  r: number | null;
  p: number;
  permutations: number;
  estimated?: Estimated;
}

export interface Comparison {
  measures: Record<string, number | null>;
  euclidean: number | null;
  mantel: Mantel | null;
  estimated?: Estimated;
}

/** How a live page asks for what is not in its document. */
export interface Source {
  distances: string[];
  views(run: string, layer: string): Promise<{ steps: number[]; views: string }>;
  map(method: string, distance: string, layers: string[]): Promise<MapRow>;
  compare(a: number, b: number): Promise<Comparison>;
  direction(id: number, column: string, start: string, end: string): Promise<number[]>;
}

/** The state that the address holds. Flags are "" or a word. */
export type State = {
  mode: string;
  follow: string;
  run: string;
  layer: string;
  step: number;
  method: string;
  distance: string;
  color: string;
  view: string;
  by: string;
  marks: string;
  point: number;
  held: string;
  a: string;
  b: string;
  from: string;
  towards: string;
  across: string;
  query: string;
  off: string[];
  layers: string[];
  last: string;
  mapZoom: string;
  pictureZoom: string;
  table: string;
  find: string;
  sort: string;
  ranges: string[];
  picked: string[];
  values: string[];
  chosen: string[];
};

/** A column of a table: one value for each row, null where a row has none. */
export interface Column {
  key: string;
  name: string;
  words: string;
  values: any[];
  numeric: boolean;
  /** whether its cells begin with a dot in the color of the row */
  dots?: boolean;
  /** whether it has no histogram */
  plain?: boolean;
}

export interface Bin {
  low: number;
  high: number;
  value?: Value;
  runs: number;
}

/** Text, marks and lines on a canvas or in an SVG. */
export interface Style {
  fill?: string | null;
  stroke?: string | null;
  width?: number;
  alpha?: number;
  faint?: number;
  dash?: number[] | null;
  size?: number;
  weight?: number;
  align?: "left" | "right" | "center";
  halo?: string | null;
}

export interface CategoryScale {
  kind: "category";
  items: { name: string; color: string; count: number }[];
  codes: number[];
  color(index: number): string;
}

export interface NumberScale {
  kind: "number";
  items?: undefined;
  codes: null;
  low: number;
  high: number;
  logarithmic: boolean;
  stops: string[];
  color(index: number): string;
}

export type Scale = CategoryScale | NumberScale;

export interface AtlasColumn {
  name: string;
  kind: "text" | "category" | "number";
  /** of a category its values; of a text column the texts, of each point or, where there are codes, each once */
  texts?: string[];
  codes: Uint16Array | Uint32Array | null;
  values: Float32Array | null;
}

export interface Atlas extends Record<"x" | "y", Uint16Array> {
  version: number;
  title: string;
  metric: string;
  count: number;
  roles: Partial<Record<"label" | "text" | "color" | "rank" | "image" | "link" | "partner", string>>;
  /** the points by interest */
  order: Uint32Array;
  shade: Uint8Array;
  near: number;
  neighbors: Uint32Array;
  clusters: [number, number, string, number][];
  columns: AtlasColumn[];
}

export type AtlasState = {
  view: string;
  color: string;
  q: string;
  only: string[];
  lasso: string[];
  point: number;
  table: string;
  sort: string;
  ranges: string[];
};

export type { Scene };
