"""Placements for the traffic there is: annealed, spectral, or by scipy's FAQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from .anneal import anneal
from .arrays import Ints
from .assignment import faq, spectral
from .errors import ChipError
from .network import Network
from .objective import Objective

Method = Literal["spectral", "faq", "annealed"]


@dataclass(frozen=True, eq=False)
class Optimised:
    """`node[t]` of every tile t and, last, of the port; the objective at the start and now."""

    node: Ints
    cost_before: float
    cost_after: float


def optimise(
    flits: NDArray[Any],
    cost: NDArray[Any],
    start: Ints,
    method: Method = "annealed",
    *,
    network: Network | None = None,
    link_weight: float = 0.0,
    seed: int = 0,
    restarts: int = 2,
    sweeps: int = 4000,
) -> Optimised:
    """A node for every tile, none worse than `start`; the same for the same arguments.

    `flits`, `cost`, `network` and `link_weight` are those of Objective; `start` [tiles + 1] gives the tiles' nodes
    at first and, last, the port's, which stays. `restarts` runs of FAQ or of the annealing, the best counts; an
    annealing makes `sweeps` proposals per tile. Raises ChipError for arguments that make no sense.
    """
    if method not in get_args(Method):
        raise ChipError(f"unknown placement method {method!r}: choose one of {', '.join(get_args(Method))}.")
    for name, value, least in (("seed", seed, 0), ("restarts", restarts, 1), ("sweeps", sweeps, 0)):
        if value < least:
            raise ChipError(f"{name} is {value}: give at least {least}.")
    objective = Objective(flits, cost, network, link_weight)
    before = objective.check(start)
    if method == "spectral":
        found = spectral(objective, before)
    elif method == "faq":
        found = faq(objective, before, seed, restarts)
    else:
        found = anneal(objective, before, seed, restarts, sweeps)
    better = min(before, found, key=objective)
    return Optimised(better, objective(before), objective(better))
