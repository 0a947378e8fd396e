"""The three files of a run, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cannon_fx.atomic import atomic_write_bytes, atomic_write_text
from cannon_fx.report import write_report
from cannon_fx.report.write import HISTORY_COLUMNS


def test_files(record: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    write_report(record, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.csv", "report.html", "report.json"]
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == record
    rows = list(csv.DictReader((folder / "metrics.csv").open(encoding="utf-8", newline="")))
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [float(row["energy_pj"]) for row in rows] == [row["energy_pj"] for row in record["history"]]


def test_files_of_a_run_that_diverged(record: dict[str, Any], tmp_path: Path) -> None:
    record["history"][0].update(loss=float("nan"), extra=7)
    write_report(record, tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["history"][0]["loss"] is None
    header = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == ",".join([*HISTORY_COLUMNS, "extra"])
    record["history"] = []
    write_report(record, tmp_path)
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8") == ",".join(HISTORY_COLUMNS) + "\n"


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_write_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file.txt"
    atomic_write_text(path, "old\n")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full") as told:
        atomic_write_bytes(path, b"new")
    assert (told.value.strerror, told.value.filename) == ("disk full", str(path))
    assert path.read_bytes() == b"old\n"
    assert list(tmp_path.iterdir()) == [path]
