"""Readers of untrusted input, on damaged data: only RepWatchError, and status codes below 500.

Archives are damaged inside, so that their checksums still match; registry files are damaged by
values, since SQLite stores any value in any column, and by bytes.
"""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from repwatch.atlas import LayoutSettings, cached_layout, read_table, write_atlas
from repwatch.errors import RepWatchError
from repwatch.maps import RepresentationSpace
from repwatch.page import PageReader
from repwatch.probe import ProbeSet
from repwatch.probe._storage import read_stored
from repwatch.registry import NewSnapshot, Registry, entries
from repwatch.registry.admission import admit
from repwatch.registry.entries import Entry
from repwatch.registry.transfer import copy_runs
from tests.benchmarks.measure import Line

CASES = {
    "probe sets": 40_000,
    "spooled entries": 20_000,
    "spaces": 12_000,
    "routes": 12_000,
    "atlas tables": 6_000,
    "atlas layouts": 4_000,
    "atlas vectors": 4_000,
    "registry files": 2_000,
}

Reader = Callable[[Any], None]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["float32", "ops", "tensor0", "value", "9" * 400]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes truncated, or with some of them replaced, removed or inserted."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        new = draw(st.binary(max_size=8))
        gone = draw(st.sampled_from([0, 1, len(new), 64, len(found)]))
        found[at : at + gone] = new
    return bytes(found)


@st.composite
def damaged_json(draw: st.DrawFn, value: object) -> object:
    """The value with some part of it replaced by another."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(json_values)
    if isinstance(value, dict):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 5)) == 0:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: draw(damaged_json(value[key]))}
    at = draw(st.integers(0, len(value) - 1))
    return [*value[:at], draw(damaged_json(value[at])), *value[at + 1 :]]


@st.composite
def damaged_archive(draw: st.DrawFn, content: bytes, header: str) -> bytes:
    """The npz with a damaged header, array or file; its checksums match except in the last case."""
    if draw(st.integers(0, 7)) == 0:
        return draw(damaged(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from([*sorted(members), *[f"{header}.npy"] * 4]))
    if name == f"{header}.npy" and name in members:
        about = json.loads(np.load(io.BytesIO(members[name])).tobytes())
        text = json.dumps(draw(damaged_json(about))).encode()
        made = io.BytesIO()
        np.save(made, np.frombuffer(text, np.uint8))
        members[name] = made.getvalue()
    elif name in members:
        members[name] = draw(damaged(members[name]))
    if draw(st.integers(0, 7)) == 0:
        members.pop(draw(st.sampled_from(sorted(members))))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, bytes_ in members.items():
            archive.writestr(member, bytes_)
    return packed.getvalue()


def make_probe() -> ProbeSet:
    inputs = {"x": torch.arange(12.0).reshape(6, 2), "rest": (torch.ones(6, dtype=torch.int64), 3)}
    return ProbeSet(
        inputs,
        columns={"label": [0, 1, 2, 0, 1, 2]},
        texts=[f"point {i}" for i in range(6)],
        images=np.zeros((6, 4, 4), np.uint8),
    )


def make_registry(path: Path, probe: ProbeSet) -> None:
    registry = Registry(path)
    for number in range(3):
        run = registry.start_run(f"run-{number}", probe=probe, hparams={"lr": 0.1}, monitor="loss")
        for step in range(3):
            rng = np.random.default_rng(10 * number + step)
            rdms = {layer: rng.uniform(0.5, 2, 15).astype(np.float32) for layer in ("fc", "out")}
            registry.add_snapshots(
                run.id,
                [
                    NewSnapshot(layer, step, 0, depth, D, {"norm": 1.0})
                    for depth, (layer, D) in enumerate(rdms.items())
                ],
            )
            registry.add_metrics(run.id, step, 0, {"loss": 1.0 / (step + 1)})
        registry.add_flag(run.id, kind="drift", step=2, epoch=0, message="look", layer="fc")
        registry.finish_run(run.id, "finished")
        registry.label(run, "good")
    registry.close()


def read_probe(blob: bytes) -> None:
    _within(lambda: read_stored(blob))
    _within(lambda: list(ProbeSet.from_bytes(blob).batches(2)))


def read_space(blob: bytes) -> None:
    RepresentationSpace.from_bytes(blob)


def _within(read: Callable[[], object]) -> None:
    with suppress(RepWatchError):
        read()


@contextmanager
def places() -> Iterator[tuple[dict[str, st.SearchStrategy[Any]], dict[str, Reader]]]:
    """(inputs, readers), each by kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        probe = make_probe()
        make_registry(folder / "repwatch.db", probe)
        registry = Registry(folder / "repwatch.db")
        snapshots = registry.snapshots()
        (run, *_) = registry.runs()
        spaces = [
            RepresentationSpace.fit(snapshots, method=method).to_bytes()
            for method in ("tsne", "pca", "mds")
        ]
        registry.close()
        spooled = [
            entries.metrics(3, 0, {"loss": 0.5}).to_bytes(),
            entries.snapshots([NewSnapshot("fc", 9, 0, 1, np.ones(15, np.float32))]).to_bytes(),
            entries.notes(["look"]).to_bytes(),
            entries.monitor("loss", "min").to_bytes(),
            entries.plan_run(registry, "new", probe=probe)[1].to_bytes(),
        ]
        vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
        np.save(folder / "vectors.npy", vectors)
        layout = LayoutSettings(perplexity=2)
        cached_layout(vectors, folder / "layout.npz", layout)
        kept = {path.name: path.read_bytes() for path in folder.iterdir()}
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "probe sets": damaged_archive(probe.to_bytes(), "header"),
            "spooled entries": st.sampled_from(spooled).flatmap(
                lambda blob: damaged_archive(blob, "entry")
            ),
            "spaces": st.sampled_from(spaces).flatmap(lambda blob: damaged_archive(blob, "header")),
            "atlas tables": damaged(b'word,count\ncat,3\n"dog, big",5\n')
            | damaged(b'{"word": "cat", "count": [1]}\n{"word": "dog"}\n'),
            "atlas layouts": damaged_archive(kept["layout.npz"], "none"),
            "atlas vectors": damaged(kept["vectors.npy"]),
            "routes": requests(),
            "registry files": changes(folder / "repwatch.db") | damaged(kept["repwatch.db"]),
        }
        scratch = Registry(folder / "target.db")
        scratch.start_run("own", probe=probe, run_id=run.id)

        def read_layout(blob: bytes) -> None:
            (folder / "layout.npz").write_bytes(blob)
            cached_layout(vectors, folder / "layout.npz", layout)

        def read_vectors(blob: bytes) -> None:
            sent = folder / "sent.npy"
            sent.write_bytes(blob)
            write_atlas(sent, None, folder / "x.html", settings=layout, overwrite=True)

        def read_text(blob: bytes) -> None:
            for name in ("sent.csv", "sent.jsonl"):
                (folder / name).write_bytes(blob)
                _within(lambda name=name: read_table(folder / name))

        readers: dict[str, Reader] = {
            "probe sets": read_probe,
            "spooled entries": lambda blob: Entry.from_bytes(blob).apply(scratch, run.id),
            "spaces": read_space,
            "atlas tables": read_text,
            "atlas layouts": read_layout,
            "atlas vectors": read_vectors,
            "routes": route_reader(folder),
            "registry files": file_reader(folder, kept["repwatch.db"]),
        }
        yield kinds, readers
        scratch.close()


ROUTES = ("registries", "page", "points", "views", "positions", "compare")


def requests() -> st.SearchStrategy[tuple[str, dict[str, str]]]:
    """(route, arguments) of a request; most name the existing registry."""
    words = st.sampled_from(
        ["run-0", "fc", "tsne", "pca", "cosine", "[]", '["fc"]', '["no"]', "1", "2", "{registry}"]
    ) | st.text(max_size=12)
    names = st.sampled_from(["run", "layer", "method", "distance", "layers", "a", "b", "probe"])
    return st.tuples(
        st.sampled_from(ROUTES), st.dictionaries(names | st.text(max_size=4), words, max_size=6)
    )


def route_reader(folder: Path) -> Reader:
    from werkzeug.test import Client

    from repwatch.integrations.tensorboard.plugin import RepWatchPlugin

    plugin = RepWatchPlugin(SimpleNamespace(logdir=str(folder), flags=None))
    clients = {path: Client(app) for path, app in plugin.get_plugin_apps().items()}
    listed = json.loads(clients["/registries"].get("/").data)["registries"]
    key = next(one["key"] for one in listed if one["name"] == "repwatch.db")

    def read(request: tuple[str, dict[str, str]]) -> None:
        route, arguments = request
        answered = clients[f"/{route}"].get("/", query_string={"registry": key, **arguments})
        assert answered.status_code < 500, f"{route} answered {answered.status_code}"

    return read


def changes(path: Path) -> st.SearchStrategy[tuple[str, str, object]]:
    """(table, column, value) to set."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c"
        columns = connection.execute(f"{query} WHERE t.type = 'table'").fetchall()
    value = (
        st.none()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats()
        | st.text(max_size=20)
        | st.binary(max_size=40)
        | json_values.map(json.dumps)
    )
    return st.tuples(st.sampled_from(columns), value).map(lambda given: (*given[0], given[1]))


def file_reader(folder: Path, content: bytes) -> Reader:
    """Opens the file directly, makes its page, and imports it elsewhere."""
    sent, target = folder / "sent.db", folder / "taken.db"

    def read(change: bytes | tuple[str, str, object]) -> None:
        for left in folder.glob("sent.db*"):
            left.unlink()
        sent.write_bytes(change if isinstance(change, bytes) else content)
        if not isinstance(change, bytes):
            table, column, value = change
            try:
                with closing(sqlite3.connect(sent)) as connection, connection:
                    connection.execute(f'UPDATE "{table}" SET "{column}" = ?', (value,))
            except (sqlite3.Error, OverflowError):
                return
        registry = Registry(sent, read_only=True)
        try:
            for action in (open_directly, make_pages, lambda source: take_in(source, target)):
                _within(lambda action=action: action(registry))
        finally:
            registry.close()

    return read


def open_directly(registry: Registry) -> None:
    for run in registry.runs():
        repr(run)
        registry.rdms(run.snapshots())
        registry.sketches(run.snapshots())
        registry.history(run, "loss")
        registry.points(run.probe)
        registry.probe(run.probe)


def make_pages(registry: Registry) -> None:
    reader = PageReader(registry)
    json.dumps(reader.overview(), allow_nan=False)
    for run in registry.runs()[:1]:
        json.dumps(reader.views(run.id, "fc"), allow_nan=False)
        json.dumps(reader.points(run.probe), allow_nan=False)
    json.dumps(reader.map("pca", "euclidean", []), allow_nan=False)


def take_in(source: Registry, path: Path) -> None:
    admit(source)
    target = Registry(path)
    copy_runs(source, target, source.runs())
    target.close()
    path.unlink(missing_ok=True)  # a source without runs leaves no file


def find_faults(cases: int, inputs: st.SearchStrategy[Any], read: Reader) -> Counter[str]:
    """How often each error that is not RepWatch's was raised, by the place that raised it."""
    faults: Counter[str] = Counter()

    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def attempt(value: Any) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about numbers beyond float32, for example
                read(value)
        except RepWatchError:
            pass
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = [
                frame
                for frame in traceback.extract_tb(error.__traceback__)
                if "/repwatch/" in frame.filename
            ]
            at = ours[-1] if ours else last
            faults[f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {error}"] += 1

    attempt()
    return faults


def run(smoke: bool) -> list[Line]:
    lines = []
    with places() as (kinds, readers):
        for kind, cases in CASES.items():
            count = max(cases // 1000, 4) if smoke else cases
            faults = find_faults(count, kinds[kind], readers[kind])
            detail = "; ".join(f"{times} times {fault[:200]}" for fault, times in faults.items())
            lines.append(
                Line(
                    f"{count:,} damaged {kind}" if kind != "routes" else f"{count:,} requests",
                    float(sum(faults.values())),
                    "faults",
                    "none",
                    not faults,
                    detail,
                )
            )
    return lines
