"""The file of a report: what it holds, and that each processor has one thread while it is made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from repwatch import Registry
from repwatch.page import build_report, report, write_report
from repwatch.page.packing import inflate, pack
from tests.report_file import read_report


@given(st.lists(st.binary(max_size=400), max_size=4))
def test_packed_bytes_come_back_and_end_no_script(planes: list[bytes]) -> None:
    text = pack(planes)
    assert inflate(text) == b"".join(planes)
    assert not re.search(r'[<"\\\s]', text)
    assert json.dumps(text) == f'"{text}"'


def test_the_file_holds_the_document(registry: Registry, tmp_path: Path) -> None:
    options = report.ReportOptions(("cosine",), ("pca",))
    document: dict[str, Any] = dict(build_report(registry, options=options))
    path = write_report(registry, tmp_path / "report.html", distances=("cosine",), methods=("pca",))
    assert {**read_report(path), "made": ""} == json.loads(json.dumps({**document, "made": ""}))


def test_blas_has_one_thread_for_each_trajectory(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    made = report.make_views

    def spy(rows: Any) -> Any:
        views = made(rows)
        seen.extend(
            library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
        )
        return views

    monkeypatch.setattr(report, "make_views", spy)
    build_report(registry, options=report.ReportOptions(("cosine",), ("pca",)))
    assert seen
    assert set(seen) == {1}
