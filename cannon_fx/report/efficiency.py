"""The rows of the page's TOPS/W table, and the accuracies on the chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cannon_fx.report.headline import Pair
from cannon_fx.report.numbers import column, percent, percent_decimals
from cannon_fx.report.tables import Methods

Rows = list[tuple[str, tuple[str, ...]]]

COLUMNS = (
    ("operations", "operations"),
    ("crossbar_pj", "crossbars, pJ"),
    ("adc_pj", "ADCs, pJ"),
    ("digital_pj", "digital, pJ"),
    ("communication_pj", "communication, pJ"),
    ("total_pj", "total, pJ"),
    ("communication_share", "communication, %"),
    ("tops_per_watt", "TOPS/W"),
    ("tops", "TOPS"),
)


@dataclass(frozen=True)
class EfficiencyTable:
    """The after's layers and moves, and the totals of all methods."""

    parts: Rows
    totals: Rows


def efficiency_table(methods: Methods, pair: Pair) -> EfficiencyTable | None:
    """None where the chip has no constants of computing."""
    known = {name: m["efficiency"] for name, m in methods.items() if m.get("efficiency")}
    if pair.after not in known:
        return None
    parts = known[pair.after]["parts"]
    rows = _rows([*parts, *(efficiency["total"] for efficiency in known.values())])
    named = list(zip([*(part["name"] for part in parts), *known], rows, strict=True))
    return EfficiencyTable(named[: len(parts)], named[len(parts) :])


def _rows(entries: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    cells = []
    for key, _ in COLUMNS:
        values = [entry[key] for entry in entries]
        cells.append(list(map(percent, values)) if key == "communication_share" else column(values))
    return list(zip(*cells, strict=True))


def quantised_rows(methods: Methods) -> Rows:
    """Per method, the accuracy on the chip and that in floating point, %; empty if none was evaluated."""
    given = {name: m for name, m in methods.items() if m.get("quantised_accuracy") is not None}
    known = {name: (method["quantised_accuracy"], method["accuracy"]) for name, method in given.items()}
    decimals = percent_decimals(value for pair in known.values() for value in pair)
    return [(name, tuple(percent(value, decimals) for value in pair)) for name, pair in known.items()]
