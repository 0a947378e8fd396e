"""Write a run's record as report.json, metrics.csv and report.html."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from cannon_fx.atomic import atomic_write_text
from cannon_fx.report.html import render_html

HISTORY_COLUMNS = (
    "method", "epoch", "phase", "loss", "train_accuracy", "accuracy", "energy_pj", "latency_cycles",
    "density", "strength", "seconds",
)  # fmt: skip


def write_report(record: dict[str, Any], folder: Path) -> None:
    """Write the three files into `folder` (made if missing), each whole or not at all.

    The data comes before the page, so that an error while drawing the page does not cost the numbers.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain = finite(record)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write_text(folder / "report.json", text)
    atomic_write_text(folder / "metrics.csv", metrics_csv(plain.get("history") or []))
    atomic_write_text(folder / "report.html", render_html(plain))


def finite(value: Any) -> Any:
    """`value` with NaN and infinity as None: JSON has no such numbers, and a diverged loss is no error."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def metrics_csv(history: list[dict[str, Any]]) -> str:
    """The rows of `history` under one header: the known columns first, then any others in order of sight."""
    others = [key for row in history for key in row if key not in HISTORY_COLUMNS]
    columns = [*HISTORY_COLUMNS, *dict.fromkeys(others)]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue()
