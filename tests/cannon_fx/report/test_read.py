"""Folders that are no runs, and records from strangers: one clear error, or a page."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import HOSTILE, record_of_a_run

from cannon_fx.errors import RunError
from cannon_fx.report import render_html, write_report
from cannon_fx.report.comparison import RunResult, as_json
from cannon_fx.report.comparison_page import comparison_tables, render_comparison
from cannon_fx.report.data_tables import data_tables
from cannon_fx.report.read import read_record
from cannon_fx.report.table_files import csv_file, latex_file


def test_what_was_written_is_read(record: dict[str, Any], tmp_path: Path) -> None:
    write_report(record, tmp_path)
    assert read_record(tmp_path) == record
    assert render_html(read_record(tmp_path)) == (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is no finished run: there is no report.json in it"),
        (b"{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "has schema None, this cannon_fx reads 1"),
        (b'{"schema": 7}', "has schema 7, this cannon_fx reads 1"),
        (b'{"schema": 1}', "command is missing"),
    ],
)
def test_what_is_no_run(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(RunError, match=words):
        read_record(tmp_path)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside `value`."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


DELETED = object()
STRANGE: list[Any] = [
    None, True, -1, 0, 3, 10**400, 0.5, -0.5, 1e308, float("nan"), "", HOSTILE, "$x_{", [], [1], {}, {"a": 1}, "ff",
    DELETED,
]  # fmt: skip
DAMAGES = st.tuples(st.sampled_from(places(record_of_a_run())[1:]), st.sampled_from(STRANGE))


def damaged(record: Any, path: tuple[Any, ...], strange: Any) -> None:
    try:
        for key in path[:-1]:
            record = record[key]
        if strange is DELETED:
            del record[path[-1]]
        else:
            record[path[-1]] = copy.deepcopy(strange)
    except (KeyError, IndexError, TypeError):
        pass  # another damage took this place away


@settings(max_examples=25, deadline=None)
@given(damages=st.lists(DAMAGES, min_size=1, max_size=2))
def test_a_damaged_record_is_refused_or_shown(
    damages: list[tuple[tuple[Any, ...], Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = record_of_a_run()
    for path, strange in damages:
        damaged(record, path, strange)
    folder = tmp_path_factory.mktemp("run")
    (folder / "report.json").write_text(json.dumps(record))
    try:
        found = read_record(folder)
    except RunError:
        return
    render_html(found)
    runs = [RunResult(name, folder, each, {}) for name, each in (("a", found), ("b", record_of_a_run()))]
    render_comparison(runs)
    json.dumps(as_json(runs), allow_nan=False)
    for table in (*data_tables(found), *comparison_tables(runs)):
        csv_file(table)
        latex_file(table)
