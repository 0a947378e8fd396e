"""A whole list: every model in a process of its own kind, every finished row on disk, and on from there."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cannon_fx.atomic import atomic_write_text
from cannon_fx.errors import RunError
from cannon_fx.zoo.check import Row, check
from cannon_fx.zoo.entry import Entry

PACKAGES = ("cannon-fx", "torch", "torchvision", "timm", "transformers")


def run_list(
    entries: Iterable[Entry],
    path: Path | None,
    chip: str,
    timeout_seconds: float,
    listen: Callable[[Row], None],
    retry: bool = False,
) -> list[Row]:
    """The rows of all entries, in order; those already in `path` are not computed again, with `retry` if they are ok.

    A worker process computes them one after another. If a model kills it or takes too long, that is the model's row,
    and another worker goes on. Raises RunError for a file in `path` that is no result of this chip.
    """
    rows = _read(path, chip) if path else {}
    found: list[Row] = []
    worker = _worker()
    try:
        for entry in entries:
            row = rows.get(entry.line)
            if row is None or (retry and not row["ok"]):
                future: Future[Row] = worker.submit(check, entry, chip)
                try:
                    row = future.result(timeout_seconds)
                except (TimeoutError, BrokenProcessPool) as error:
                    _kill(worker)
                    worker = _worker()
                    late = isinstance(error, TimeoutError)
                    why = f"took more than {timeout_seconds:g} s" if late else "its process died"
                    row = {"model": entry.line, "ok": False, "error": why, "seconds": timeout_seconds if late else None}
                rows[entry.line] = row
                if path:
                    _write(path, chip, list(rows.values()))
            found.append(row)
            listen(row)
    finally:
        _kill(worker)
    return found


def _worker() -> ProcessPoolExecutor:
    """One process with everything imported, so that a model's time is its own."""
    worker = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    worker.submit(_ready).result()
    return worker


def _ready() -> None:
    """Does nothing; to find it, a process imports this module."""


def _kill(worker: ProcessPoolExecutor) -> None:
    """Ends the worker whatever it is doing."""
    for process in list((worker._processes or {}).values()):
        process.kill()
    worker.shutdown(wait=False, cancel_futures=True)


def _read(path: Path, chip: str) -> dict[str, Row]:
    """The rows by model."""
    if not path.exists():
        return {}
    try:
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if data["schema"] != 1 or data["chip"] != chip:
            raise ValueError(f"schema {data['schema']}, chip {data['chip']}")
        return {row["model"]: {"ok": row["ok"], **row} for row in data["rows"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{str(path)!r} holds no zoo result for chip {chip} ({error}). Choose another file, or remove it."
        ) from error


def _write(path: Path, chip: str, rows: list[Row]) -> None:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    data = {"schema": 1, "chip": chip, "versions": versions, "rows": rows}
    atomic_write_text(path, json.dumps(data, indent=1) + "\n")
