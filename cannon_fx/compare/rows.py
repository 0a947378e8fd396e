"""From the records of runs to the rows of the table."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cannon_fx.compare.config import CompareConfig
from cannon_fx.config import RunConfig

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A run's options and its record (the content of report.json, or why there is none under "refused")."""

    config: RunConfig
    record: dict[str, Any]


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    """One row per run; of several learning rates, the one with the best mean accuracy on the images held out."""
    choices: dict[tuple[Any, ...], dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        if "refused" not in outcome.record:
            row = _row(outcome)
            choices[_setting(row)][outcome.config.learning_rate].append(row)
    rows = [row for rates in choices.values() for row in max(rates.values(), key=_held_out)]
    dense = {_place(row): row["accuracy"] for row in rows if row["method"] == "dense"}
    for row in rows:
        row["dense_accuracy"] = dense[_place(row)]
    return rows


def refusals(outcomes: Iterable[Outcome]) -> list[dict[str, str]]:
    """The budgets that a method cannot meet, and why; one of all seeds."""
    found = {}
    for outcome in outcomes:
        if "refused" in outcome.record:
            c = outcome.config
            key = (CompareConfig.network_name(c.model), CompareConfig.chip_name(c.chip), c.methods[0], c.budget)
            found[key] = outcome.record["refused"]
    names = ("network", "chip", "method", "budget")
    return [dict(zip(names, key, strict=True)) | {"reason": reason} for key, reason in found.items()]


def _row(outcome: Outcome) -> Row:
    config, record = outcome.config, outcome.record
    (method,) = config.methods
    result = record["methods"][method]
    simulated = result["simulated_latency_cycles"]
    latency = result["latency_cycles"] if simulated is None else simulated
    return {
        "network": CompareConfig.network_name(config.model),
        "data": record["data"],
        "chip": record["chip"]["name"],
        "method": method,
        "budget": None if method == "dense" else config.budget,
        "seed": config.seed,
        "dense_accuracy": None,
        "accuracy": result["accuracy"],
        "validation_accuracy": result["validation_accuracy"],
        "energy_pj": result["energy_pj"],
        "static_energy_pj": result["static_energy_pj"],
        "latency_cycles": latency,
        "edp_pj_cycles": result["energy_pj"] * latency,
        "latency_model": "analytic" if simulated is None else "simulated",
        "analytic_latency_cycles": result["latency_cycles"],
        "density": result["density"],
        "tiles": len(result["floor_plan"]["tiles"]),
        "epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "distill": 0.0 if method == "dense" else config.distill,
        "seconds": record["seconds"],
        "device": record["device"],
    }


def _held_out(rows: list[Row]) -> float:
    return statistics.fmean(row["validation_accuracy"] or 0.0 for row in rows)


def _setting(row: Row) -> tuple[Any, ...]:
    return row["network"], row["chip"], row["method"], row["budget"]


def _place(row: Row) -> tuple[Any, ...]:
    return row["network"], row["chip"], row["seed"]
