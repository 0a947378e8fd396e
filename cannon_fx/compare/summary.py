"""What the rows come to: means over seeds, savings at an accuracy, geometric means over networks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cannon_fx.compare.rows import Row

COSTS = ("energy_pj", "latency_cycles", "edp_pj_cycles")
TOLERANCE = 0.005
"""How far below dense an accuracy may lie and still count as kept: half a point."""


@dataclass(frozen=True)
class Point:
    """A method at a budget: accuracy and costs, means over seeds. `accuracy_std` is the sample's (0 for one seed)."""

    network: str
    chip: str
    method: str
    budget: str | None
    seeds: int
    accuracy: float
    accuracy_std: float
    dense_accuracy: float
    costs: dict[str, float]
    density: float

    @property
    def keeps_accuracy(self) -> bool:
        """Within TOLERANCE of dense, on average over the seeds."""
        return self.accuracy >= self.dense_accuracy - TOLERANCE - 1e-12


def points(rows: Iterable[Row]) -> list[Point]:
    """In the order of the rows."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["chip"], row["method"], row["budget"]), []).append(row)
    return [
        Point(
            network=network,
            chip=chip,
            method=method,
            budget=budget,
            seeds=len(group),
            accuracy=statistics.fmean(row["accuracy"] for row in group),
            accuracy_std=statistics.stdev(row["accuracy"] for row in group) if len(group) > 1 else 0.0,
            dense_accuracy=statistics.fmean(row["dense_accuracy"] for row in group),
            costs={cost: statistics.fmean(row[cost] for row in group) for cost in COSTS},
            density=statistics.fmean(row["density"] for row in group),
        )
        for (network, chip, method, budget), group in groups.items()
    ]


def best(found: Iterable[Point], cost: str) -> dict[tuple[str, str, str], Point]:
    """By network, chip and method: the point of least `cost` among those that keep the accuracy."""
    chosen: dict[tuple[str, str, str], Point] = {}
    for point in found:
        key = point.network, point.chip, point.method
        if point.keeps_accuracy and (key not in chosen or point.costs[cost] < chosen[key].costs[cost]):
            chosen[key] = point
    return chosen


@dataclass(frozen=True)
class Advantage:
    """How many times less cannon needs than `method`, each at its best within half a point of dense.

    `times` holds, per cost, the ratio by network and chip, where the method met any budget. A method that keeps the
    accuracy at no budget counts as dense, its last resort.
    """

    method: str
    times: dict[str, dict[tuple[str, str], float]]

    def geometric_mean(self, cost: str) -> float | None:
        ratios = list(self.times[cost].values())
        return statistics.geometric_mean(ratios) if ratios else None


def advantages(found: list[Point], method: str = "cannon") -> list[Advantage]:
    """`method` against every other."""
    others = list(dict.fromkeys(point.method for point in found if point.method != method))
    result = []
    for other in others:
        times: dict[str, dict[tuple[str, str], float]] = {cost: {} for cost in COSTS}
        for cost in COSTS:
            chosen = best(found, cost)
            for network, chip in dict.fromkeys((p.network, p.chip) for p in found if p.method == other):
                dense = chosen[network, chip, "dense"]
                ours = chosen.get((network, chip, method), dense)
                theirs = min(dense, chosen.get((network, chip, other), dense), key=lambda p: p.costs[cost])
                times[cost][network, chip] = theirs.costs[cost] / ours.costs[cost]
        result.append(Advantage(other, times))
    return result


def same_energy(rows: list[Row], method: str = "cannon") -> list[dict[str, Any]]:
    """Accuracy of `method` less that of every other at the same budget and seed: mean and spread over seeds, points."""
    by_key = {(r["network"], r["chip"], r["budget"], r["method"], r["seed"]): r["accuracy"] for r in rows}
    gaps: dict[tuple[str, str, str, str], list[float]] = {}
    for (network, chip, budget, other, seed), accuracy in by_key.items():
        ours = by_key.get((network, chip, budget, method, seed))
        if ours is not None and other != method:
            gaps.setdefault((network, chip, budget, other), []).append(100 * (ours - accuracy))
    names = ("network", "chip", "budget", "method")
    return [
        dict(zip(names, key, strict=True))
        | {
            "points": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "seeds": len(values),
        }
        for key, values in gaps.items()
    ]
