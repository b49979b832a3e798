"""Run the essay's examples at full size and write the gallery, examples/README.md.

    python examples/make_gallery.py --data ../shared/data       # all of them
    python examples/make_gallery.py --only two_curves
    python examples/make_gallery.py --table-only                # the README from earlier results

The folder --data holds mnist10k.npz, glove50k.npz, debian.jsonl.gz and en-fr.tsv.gz; each script's
docstring says how to make its file. A script whose file is absent is left out, or runs on
scikit-learn's digits where it can.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
GALLERY = HERE / "gallery"
MNIST = ("--data", "mnist10k.npz")
GLOVE = ("--data", "glove50k.npz")
# In the order of the essay: the script and its options; files are those in --data.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "two_curves": (),
    "raw_and_hidden": MNIST,
    "words": (*GLOVE, "--corpus", "debian.jsonl.gz", "--map", "10000"),
    "documents": ("--data", "debian.jsonl.gz", "--map", "10000"),
    "translation": ("--data", "en-fr.tsv.gz"),
    "directions": GLOVE,
    "fingerprints": (),
    "space_of_mnist": MNIST,
    "watch_a_run": (),
    "same_inside": (),
}
HEAD = """# Examples

The examples of [Visualizing Representations](https://colah.github.io/posts/2015-01-Visualizing-Representations/),
one script each: a network is trained with RepWatch attached, a page and a picture show the essay's
claim, and a number tests it. `python examples/NAME.py --help` explains the data and the
measurement; `make examples` runs all of them and writes this table. They need
`pip install "repwatch[examples]"`.

The other files here: `fine_tuning.py` watches a pretrained transformer,
`layer_correspondence.py` compares distances, `faults/` trains networks with one fault each, and
`populations/` trains the runs of [How reliable are flags?](../docs/reliability.md).

| | claim and result |
|---|---|
"""


def run(name: str, data: Path, out: Path) -> bool:
    """Run one script, and copy its picture and result; returns whether it worked."""
    options = SCRIPTS[name]
    files = {word: data / word for word in options if word.endswith((".npz", ".gz"))}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing and options != MNIST:
        print(f"{name} is left out: there is no {', '.join(missing)}.", file=sys.stderr)
        return True
    if missing:
        options = ()
    words = [sys.executable, str(HERE / f"{name}.py"), "--out", str(out)]
    words += [str(files.get(word, word)) for word in options]
    shown = " ".join(["python", f"examples/{name}.py", *options])
    print(f"--- {shown}", flush=True)
    if subprocess.run(words, check=False).returncode != 0:
        print(f"{name} failed: its earlier result is left as it was.", file=sys.stderr)
        return False
    GALLERY.mkdir(exist_ok=True)
    shutil.copy(out / f"{name}.png", GALLERY)
    result = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
    result["command"] = shown
    (GALLERY / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return True


def make_table() -> str:
    """The README, from the results in the gallery."""
    rows = []
    for name in SCRIPTS:
        path = GALLERY / f"{name}.json"
        if not path.is_file():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        verdict = "The essay's claim held." if result["held"] else "The essay's claim did not hold."
        rows.append(
            f"| ![{name}](gallery/{name}.png) | **{name}.py** {result['claim']} "
            f"{result['number']} *{verdict}* `{result['command']}` |\n"
        )
    return HEAD + "".join(rows)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="a folder")
    parser.add_argument("--out", type=Path, default=Path("essay"), help="the output folder")
    parser.add_argument("--only", nargs="*", choices=tuple(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    chosen = parser.parse_args(words)
    done = chosen.table_only or [run(name, chosen.data, chosen.out) for name in chosen.only]
    (HERE / "README.md").write_text(make_table(), encoding="utf-8")
    if not chosen.table_only and not all(done):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
