"""An atlas of Debian packages by what their descriptions say: TF-IDF and truncated SVD (LSA).

Reads a .jsonl or .jsonl.gz with one object a line: title, section, tags (a list), url, summary,
text. Any Debian machine can make one from its package indexes (python3-debian):

    for package in deb822.Packages.iter_paragraphs(open(INDEX)):    # /var/lib/apt/lists/*_Packages
        summary, _, text = package["Description"].partition("\\n")
        print(json.dumps({"title": package["Package"], "section": package.get("Section"),
                          "tags": package.get("Tag", "").split(", "), "summary": summary,
                          "url": package.get("Homepage"), "text": text}))

    python examples/packages_atlas.py debian.jsonl.gz -o packages.html
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from repwatch.atlas import Roles, write_atlas

DIMENSIONS = 100


def read_packages(path: Path, most: int) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, most)]


def represent(packages: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """(n, d) one row for each description."""
    texts = [f"{p['summary']} {p['summary']} {p.get('text') or ''}" for p in packages]
    words = TfidfVectorizer(
        sublinear_tf=True, min_df=2, max_df=0.2 if len(texts) > 1_000 else 1.0, stop_words="english"
    )
    counts = words.fit_transform(texts)
    dimensions = min(DIMENSIONS, min(counts.shape) - 1)
    found: np.ndarray[Any, Any] = TruncatedSVD(dimensions, random_state=0).fit_transform(counts)
    return found.astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An atlas of Debian packages.")
    parser.add_argument("packages", type=Path, help="the .jsonl or .jsonl.gz")
    parser.add_argument("-o", "--out", type=Path, default=Path("packages.html"))
    parser.add_argument(
        "--most", type=int, default=100_000, help="use this many of the first packages"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the page")
    chosen = parser.parse_args(arguments)
    packages = read_packages(chosen.packages, chosen.most)
    columns = {
        "package": [p["title"] for p in packages],
        "summary": [p["summary"] for p in packages],
        "section": [(p.get("section") or "").split("/")[-1] for p in packages],
        "tags": [p.get("tags") or [] for p in packages],
        # Programs that people know have many tags and short names.
        "interest": [len(p.get("tags") or []) - 0.3 * len(p["title"]) for p in packages],
        "link": [p.get("url") or "" for p in packages],
    }
    written = write_atlas(
        represent(packages),
        columns,
        chosen.out,
        roles=Roles(label="package", text="summary", link="link", color="section", rank="interest"),
        layout_path=chosen.out.with_suffix(".atlas.npz"),
        title=f"{len(packages):,} Debian packages",
        overwrite=chosen.overwrite,
    )
    print(f"{written.path}: {written.points:,} packages")


if __name__ == "__main__":
    main()
