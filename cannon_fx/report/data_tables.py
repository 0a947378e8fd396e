"""The tables of a run's record as numbers, for files; the page's own are in tables.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cannon_fx.report import tables
from cannon_fx.report.constants import chip_sections
from cannon_fx.report.efficiency import COLUMNS as EFFICIENCY
from cannon_fx.report.headline import choose_pair
from cannon_fx.report.numbers import TIMES

Value = str | float | None


@dataclass(frozen=True)
class Column:
    """`key` heads it in a CSV file, `head` in print. A head that ends in % prints fractions as percentages."""

    key: str
    head: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class DataTable:
    """`name` is its file's, without the ending."""

    name: str
    columns: tuple[Column, ...]


COSTS = {
    "accuracy": "accuracy, %",
    "quantised_accuracy": "on the chip, %",
    "energy_pj": "energy, pJ",
    "static_energy_pj": "static energy, pJ",
    "latency_cycles": "latency, cycles",
    "simulated_latency_cycles": "simulated, cycles",
    "edp_pj_cycles": "EDP, pJ·cycles",
    "density": "density, %",
}


def data_tables(record: Mapping[str, Any]) -> list[DataTable]:
    """All tables, in the page's order; those without rows are left out."""
    methods, pair = record["methods"], choose_pair(record["methods"])
    names = Column("method", "method", tuple(methods))
    summary = [Column(key, head, _of(methods.values(), key)) for key, head in COSTS.items()]
    shares = [m["energy_shares_pj"] for m in methods.values()]
    parts = [Column(f"{key}_pj", f"{name}, pJ", _of(shares, key)) for key, name in tables.SHARES]
    computing = {name: m["compute"] for name, m in methods.items() if m.get("compute")}
    heads = (*tables.COMPUTING, ("latency_cycles", "latency, cycles"))
    components = [Column(key, head, _of(computing.values(), key)) for key, head in heads]
    shown = {name: methods[name] for name in (pair.before, pair.after) if name is not None}
    constants = [(section, *row) for section, rows in chip_sections(record) for row in rows]
    found = [
        DataTable("summary", (names, *summary)),
        DataTable("energy-shares", (names, *parts)),
        DataTable("computing", (Column("method", "method", tuple(computing)), *components)),
        _efficiency(methods[pair.after].get("efficiency") or {"parts": []}),
        layer_table("layers", shown),
        move_table("moves", shown),
        _text("chip", ("section", "constant", "value", "source"), constants),
        _text("unmapped", ("layer", "reason"), [(u["name"], u["reason"]) for u in record.get("unmapped") or []]),
        _text("run", ("name", "value"), tables.run_rows(record)),
    ]
    return [table for table in found if table.columns[0].values]


def _efficiency(efficiency: Mapping[str, Any]) -> DataTable:
    """Of the after's layers and moves."""
    rows = efficiency["parts"]
    columns = [Column(key, head, _of(rows, key)) for key, head in (("name", "layer"), *EFFICIENCY)]
    return DataTable("efficiency", tuple(columns))


def layer_table(name: str, methods: Mapping[str, Mapping[str, Any]]) -> DataTable:
    """A row per layer of any of `methods`, with the costs of each; the last one that has it says what the layer is."""
    rows = {layer["name"]: layer for method in methods.values() for layer in method["layers"]}.values()
    facts = (
        Column("layer", "layer", tuple(row["name"] for row in rows)),
        Column("kind", "kind", _of(rows, "kind")),
        Column("weight_shape", "weight shape", tuple(TIMES.join(map(str, row["weight_shape"])) for row in rows)),
        Column("row_blocks", "row blocks", _of(rows, "row_blocks")),
        Column("column_blocks", "column blocks", _of(rows, "column_blocks")),
        Column("utilisation", "utilisation, %", _of(rows, "utilisation")),
        Column("connections", "connections", _of(rows, "connections")),
        Column("kept", "kept", _of(rows, "kept")),
    )
    return DataTable(name, (*facts, *_costs(methods, "layers", facts[0].values)))


def move_table(name: str, methods: Mapping[str, Mapping[str, Any]]) -> DataTable:
    """As `layer_table`, for what else is moved."""
    rows = {move["name"]: move for method in methods.values() for move in method.get("moves") or []}.values()
    facts = (
        Column("move", "move", tuple(row["name"] for row in rows)),
        Column("op", "op", _of(rows, "op")),
    )
    return DataTable(name, (*facts, *_costs(methods, "moves", facts[0].values)))


def _costs(methods: Mapping[str, Mapping[str, Any]], kind: str, names: Iterable[Value]) -> Iterable[Column]:
    for key in ("energy_pj", "latency_cycles"):
        for method, costs in methods.items():
            of = {row["name"]: row[key] for row in costs.get(kind) or []}
            yield Column(f"{method} {key}", f"{method}: {COSTS[key]}", tuple(of.get(name) for name in names))


def _of(rows: Iterable[Mapping[str, Any]], key: str) -> tuple[Value, ...]:
    return tuple(row.get(key) for row in rows)


def _text(name: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> DataTable:
    columns = zip(*rows, strict=True) if rows else [()] * len(heads)
    return DataTable(name, tuple(Column(head, head, values) for head, values in zip(heads, columns, strict=True)))
