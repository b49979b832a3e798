"""What a person sees of each point: a table of columns, and which of them plays which role."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

import numpy as np

from repwatch.errors import ConfigurationError

if TYPE_CHECKING:
    from repwatch.rdm import Float32

Table = dict[str, list[object]]

# A column of texts is a category if it has few enough values for colors to distinguish them.
_CATEGORIES = 256
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_IMAGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Roles:
    """Names of the columns that are shown in a special way; None where there is none.

    label is written on the map, text and image are shown for the point under the pointer, link is
    opened by a click (http and https only), color is the initial coloring, rank decides which
    labels are written first (the largest). partner has for each point the row (from 0) of its
    partner, such as the translation of a sentence, or nothing: a line leads there. Where label,
    text, image or link is None, a column of that name is taken if there is one.

    Examples:
        >>> from repwatch.atlas import Roles
        >>> Roles(label="word").within({"word": ["a"], "link": ["https://example.org"]}).link
        'link'
    """

    label: str | None = None
    text: str | None = None
    image: str | None = None
    link: str | None = None
    color: str | None = None
    rank: str | None = None
    partner: str | None = None

    def within(self, table: Mapping[str, Sequence[object]]) -> Roles:
        """The roles filled in. Raises ConfigurationError for a column that is not there."""
        chosen: dict[str, str | None] = {}
        for role, name in vars(self).items():
            if name is not None and name not in table:
                raise ConfigurationError(
                    f"Expected one of the columns {', '.join(table)} for {role}. Got {name!r}."
                )
            usual = role if role in ("label", "text", "image", "link") and role in table else None
            chosen[role] = name or usual
        return Roles(**chosen)


def read_table(path: str | os.PathLike[str]) -> Table:
    """The columns of a CSV file (with a heading) or a JSONL file (one object per line).

    Raises:
        ConfigurationError: the file is not there, or is neither.

    Examples:
        >>> from pathlib import Path
        >>> from repwatch.atlas import read_table
        >>> _ = Path("words.csv").write_text("word,count\\ncat,3\\ndog,5\\n")
        >>> read_table("words.csv")["word"]
        ['cat', 'dog']
    """
    source = Path(path)
    if not source.is_file():
        raise ConfigurationError(f"Expected a CSV or JSONL file. There is no {source}.")
    try:
        if source.suffix.lower() in (".jsonl", ".ndjson"):
            return _read_jsonl(source)
        return _read_csv(source)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"Expected {source} in UTF-8. Got {error}.") from None


def _read_csv(source: Path) -> Table:
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(
                f"Expected a first line of unique column names in {source}. Got {names}."
            )
        table: Table = {name: [] for name in names}
        for row in reader:
            if not row:
                row = [""] * len(names)
            if len(row) != len(names):
                raise ConfigurationError(
                    f"Expected {len(names)} cells in line {reader.line_num} of {source}. "
                    f"Got {len(row)}."
                )
            for name, cell in zip(names, row, strict=True):
                table[name].append(cell)
    return table


def _read_jsonl(source: Path) -> Table:
    rows: list[dict[str, object]] = []
    with source.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ConfigurationError(
                    f"Expected JSON in line {number} of {source}. Got: {error}."
                ) from None
            if not isinstance(row, dict):
                raise ConfigurationError(
                    f"Expected an object in line {number} of {source}. Got {type(row).__name__}."
                )
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def check_table(table: Mapping[str, Sequence[object]], count: int) -> Table:
    """The table as lists. Raises ConfigurationError unless each column has `count` rows."""
    checked = {str(name): list(values) for name, values in table.items()}
    for name, values in checked.items():
        if len(values) != count:
            raise ConfigurationError(
                f"Expected {count} rows, one for each vector, in the same order. "
                f"Got {len(values)} in column {name!r}."
            )
    return checked


def numbers(values: Sequence[object]) -> Float32 | None:
    """The column as float32 with NaN for what is missing, or None if it does not hold numbers."""
    found = np.full(len(values), np.nan, dtype=np.float32)
    for row, value in enumerate(values):
        if value is None or value == "":
            continue
        if isinstance(value, (bool, np.bool_)) or not isinstance(
            value, (str, bytes, SupportsFloat, SupportsIndex)
        ):
            return None
        try:
            found[row] = float(value)
        except (TypeError, ValueError):
            return None
    return found if np.isfinite(found).any() else None


def cell_text(value: object) -> str:
    """A cell as text: lists joined by commas, empty for missing values."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell_text, value))
    return str(value)


def categories(texts: Sequence[str]) -> list[str] | None:
    """The different texts, most frequent first, or None where they are too many to be categories.

    A missing text is not a category.
    """
    counts = Counter(text for text in texts if text)
    if not counts or len(counts) > min(_CATEGORIES, max(2, len(texts) // 2)):
        return None
    return [text for text, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def embed_images(values: Sequence[object], folder: Path) -> list[str]:
    """Image files (relative to `folder`) as data: addresses; what is an address already stays.

    Raises:
        ConfigurationError: a file is missing, is not PNG, JPEG, GIF or WebP, or all are too large.
    """
    total, found, seen = 0, [], {}
    for value in map(cell_text, values):
        if not value or value.startswith(("data:", "http:", "https:")):
            found.append(value)
            continue
        if value not in seen:
            path = folder / value
            if not path.is_file():
                raise ConfigurationError(f"Expected an image file. There is no {path}.")
            content = path.read_bytes()
            kind = next((k for start, k in _KINDS.items() if content.startswith(start)), None)
            if kind is None:
                raise ConfigurationError(f"Expected PNG, JPEG, GIF or WebP. {path} is not one.")
            total += len(content)
            if total > _IMAGE_BYTES:
                raise ConfigurationError(
                    f"Expected images of at most {_IMAGE_BYTES // 2**20} MB in total, since the "
                    "page contains them. Make thumbnails, or use links."
                )
            seen[value] = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        found.append(seen[value])
    return found
