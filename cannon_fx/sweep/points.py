"""The points of a sweep and what a network costs at each: mapped again per structure, by formula per constant."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram

from cannon_fx.compile import mapped
from cannon_fx.compute import compute_total
from cannon_fx.errors import CannonError
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.symbolic import constants_of, sweep
from cannon_fx.plans import Plan
from cannon_fx.sweep.axes import Axis, with_values

Row = dict[str, Any]

Against = Literal["latency_cycles", "accuracy"]
"""What energy stands against."""

COSTS = ("energy_pj", "static_energy_pj", "latency_cycles", "edp_pj_cycles", "compute_pj", "tiles", "utilisation")


def rows_of(
    model: nn.Module, exported: ExportedProgram, chip: Chip, axes: Sequence[Axis], **options: Any
) -> Iterator[Row]:
    """One row per point, structures first, the last axis fastest; a structure that cannot be has an `error` instead.

    Rows hold the varied names, and `COSTS`, all without anything cut. Latency and what follows from it are None where a
    constant of the formula is varied, since they do not follow from a formula.
    """
    structures = [axis for axis in axes if not axis.in_formula]
    constants = [axis for axis in axes if axis.in_formula]
    for values in itertools.product(*(axis.values for axis in structures)):
        row: Row = dict(zip((axis.name for axis in structures), values, strict=True))
        try:
            plan = mapped(model, exported, with_values(chip, row), **options)
        except (CannonError, ChipError) as error:
            yield row | {"error": str(error)}
            continue
        yield from _constants(plan, row, constants) if constants else [row | costs_of(plan)]


def costs_of(plan: Plan) -> Row:
    """The `COSTS` of a plan. Energy and latency are those of communication."""
    cost = plan.cost()
    computing = compute_total(plan, cost.keep)
    return {
        "energy_pj": cost.energy_pj,
        "static_energy_pj": cost.static_energy_pj,
        "latency_cycles": cost.latency_cycles,
        "edp_pj_cycles": cost.edp_pj_cycles,
        "compute_pj": computing["energy_pj"] if computing else None,
        "tiles": plan.tiles,
        "utilisation": plan.utilisation,
    }


def _constants(plan: Plan, row: Row, constants: Sequence[Axis]) -> Iterator[Row]:
    grid = np.meshgrid(*(np.asarray(axis.values, np.float64) for axis in constants), indexing="ij")
    names = [axis.name for axis in constants]
    energy = sweep(plan.energy_formula(), constants_of(plan.chip), **dict(zip(names, grid, strict=True)))
    found = costs_of(plan)
    unknown = dict.fromkeys(COSTS) | {name: found[name] for name in ("compute_pj", "tiles", "utilisation")}
    points = itertools.product(*(axis.values for axis in constants))
    for values, pj in zip(points, energy.ravel().tolist(), strict=True):
        yield row | dict(zip(names, values, strict=True)) | unknown | {"energy_pj": pj}


def front(rows: Sequence[Row], against: Against) -> NDArray[np.bool_]:
    """Which rows no other beats: least energy, and least latency or highest accuracy."""
    sign = -1 if against == "accuracy" else 1
    return pareto(np.array([[row["energy_pj"], sign * row[against]] for row in rows]).reshape(-1, 2))


def pareto(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of `costs` [points, 2] no other row beats in one column without being worse in the other."""
    order = np.lexsort((costs[:, 1], costs[:, 0]))
    best = np.minimum.accumulate(costs[order, 1])
    front = np.empty(len(costs), bool)
    front[order] = np.append(True, costs[order[1:], 1] < best[:-1])
    return front
