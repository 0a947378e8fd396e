"""The rows of the page's tables: text that is ready to print, from the numbers of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cannon_fx.report.constants import text
from cannon_fx.report.headline import Pair
from cannon_fx.report.numbers import TIMES, column, known, percent, percent_decimals, ratio

SHARES = (("input", "input transfers"), ("partial_sum", "partial sums"), ("move", "moves"))
Methods = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class SummaryRow:
    """One method: its numbers, and its ratios to dense (empty where dense is missing or is this method)."""

    method: str
    cells: tuple[str, ...]
    ratios: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """One part of a method's energy: `width` is its bar's, in percent of the longest bar."""

    name: str
    energy: str
    percent: str
    width: float


@dataclass(frozen=True)
class ShareRow:
    """One method's energy, split by what is sent."""

    method: str
    shares: tuple[Share, ...]
    total: str


@dataclass(frozen=True)
class CostRow:
    """One layer or move; `energy` and `latency` are (before, after, ratio), or (after,) without a before."""

    name: str
    number: int
    cells: tuple[str, ...]
    energy: tuple[str, ...]
    latency: tuple[str, ...]


CostRows = list[CostRow]


def summary_rows(methods: Methods) -> list[SummaryRow]:
    """Accuracy, energy, static energy, latency of both models, EDP and density of all methods, and ratios to dense."""
    decimals = percent_decimals(m["accuracy"] for m in methods.values())
    keys = ("energy_pj", "static_energy_pj", "latency_cycles", "simulated_latency_cycles", "edp_pj_cycles")
    columns = [column([m.get(key) for m in methods.values()]) for key in keys]
    dense = methods.get("dense")
    rows = []
    for index, (name, method) in enumerate(methods.items()):
        cells = (
            percent(method["accuracy"], decimals),
            *(values[index] for values in columns),
            percent(method["density"]),
        )
        ratios: tuple[str, ...] = ()
        if dense is not None and name != "dense":
            ratios = tuple(ratio(dense[key], method[key]) for key in (keys[0], keys[2], keys[4]))
        rows.append(SummaryRow(name, cells, ratios))
    return rows


def share_rows(methods: Methods) -> list[ShareRow]:
    """The energy of all methods by what is sent; all bars share one scale."""
    shares = [[float(m["energy_shares_pj"].get(key) or 0.0) for key, _ in SHARES] for m in methods.values()]
    longest = max((sum(row) for row in shares), default=0.0) or 1.0
    texts = column([*(value for row in shares for value in row), *(sum(row) for row in shares)])
    rows = []
    for index, (method, row) in enumerate(zip(methods, shares, strict=True)):
        total = sum(row)
        cells = tuple(
            Share(
                name,
                texts[index * len(SHARES) + part],
                percent(row[part] / total if total else 0.0),
                round(100 * row[part] / longest, 3),
            )
            for part, (_, name) in enumerate(SHARES)
        )
        rows.append(ShareRow(method, cells, texts[len(shares) * len(SHARES) + index]))
    return rows


COMPUTING = (
    ("crossbar_pj", "crossbars, pJ"),
    ("driver_pj", "input drivers, pJ"),
    ("adc_pj", "ADCs, pJ"),
    ("shift_add_pj", "shift and add, pJ"),
    ("accumulate_pj", "accumulation, pJ"),
    ("energy_pj", "computing, pJ"),
)


def compute_rows(methods: Methods) -> list[tuple[str, tuple[str, ...]]]:
    """Per method, what computing costs by component and in all, communication's share of both, and the latency."""
    known_of = {name: m["compute"] for name, m in methods.items() if m.get("compute")}
    columns = [column([c[key] for c in known_of.values()]) for key, _ in (*COMPUTING, ("latency_cycles", ""))]
    rows = []
    for index, (name, computing) in enumerate(known_of.items()):
        communication = methods[name]["energy_pj"]
        whole = communication + computing["energy_pj"]
        cells = [values[index] for values in columns]
        cells.insert(-1, percent(communication / whole if whole else 0.0))
        rows.append((name, tuple(cells)))
    return rows


def cost_rows(methods: Methods, pair: Pair, numbers: Mapping[str, int]) -> tuple[CostRows, CostRows]:
    """(layers, moves) of the after, each with the before's energy and latency beside its own."""
    layers, moves = methods[pair.after]["layers"], methods[pair.after].get("moves") or []
    energy, latency = (_compared(methods, pair, key) for key in ("energy_pj", "latency_cycles"))
    costs = list(zip(energy, latency, strict=True))
    layer_rows = [
        CostRow(layer["name"], numbers[layer["name"]], _facts(layer), *cost)
        for layer, cost in zip(layers, costs, strict=False)
    ]
    move_rows = [
        CostRow(move["name"], 0, (move["op"],), *cost)
        for move, cost in zip(moves, costs[len(layers) :], strict=True)  # after those of the layers
    ]
    return layer_rows, move_rows


def _facts(layer: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        layer["kind"],
        TIMES.join(str(size) for size in layer["weight_shape"]),
        f"{layer['row_blocks']}{TIMES}{layer['column_blocks']}",
        percent(layer["utilisation"]),
        f"{layer['kept']:,} / {layer['connections']:,}",
    )


def _compared(methods: Methods, pair: Pair, key: str) -> list[tuple[str, ...]]:
    """(before, after, ratio), or (after,) without a before, for the after's layers and then its moves."""
    after = entries(methods[pair.after])
    new = [entry[key] for entry in after.values()]
    if pair.before is None:
        return [(cell,) for cell in column(new)]
    before = entries(methods[pair.before])
    old = [before[name][key] if name in before else None for name in after]
    texts = column([*old, *new])
    ratios = [ratio(*values) for values in zip(old, new, strict=True)]
    return list(zip(texts[: len(old)], texts[len(old) :], ratios, strict=True))


def entries(method: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """A method's layers, then its moves, by kind and name."""
    return {(kind, entry["name"]): entry for kind in ("layers", "moves") for entry in method.get(kind) or []}


def run_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the numbers came about: command, data, seed, device, versions, seconds."""
    methods: Methods = record["methods"]
    names = ("command", "network", "data", "budget", "seed", "device")
    rows = [(name, text(record[name])) for name in names if record.get(name) is not None]
    epochs = _epochs(methods)
    if epochs:
        rows.append(("epochs", epochs))
    if known(record.get("seconds")):
        rows.append(("seconds", f"{record['seconds']:,.1f}"))
    versions = record.get("versions") or {}
    return [*rows, *((f"{name} version", text(value)) for name, value in versions.items())]


def _epochs(methods: Methods) -> str:
    counts = {name: method["epochs"] for name, method in methods.items() if method.get("epochs") is not None}
    if len(set(counts.values())) == 1 and len(counts) > 1:
        return f"{next(iter(counts.values()))} for every method"
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def latency_models(methods: Methods) -> str:
    """The latency model behind the numbers; each method's own where they differ."""
    models: dict[str, list[str]] = {}
    for name, method in methods.items():
        models.setdefault(str(method.get("latency_model") or "not named"), []).append(name)
    if len(models) == 1:
        return next(iter(models))
    return ", ".join(f"{model} ({', '.join(names)})" for model, names in models.items())


def plural(count: int, word: str) -> str:
    """'1 layer', '2 layers'."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
