"""What a good placement minimises: the energy of all traffic, and if asked for the load of the busiest link."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ChipError
from .network import Network
from .noc import Ints

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Objective:
    """energy + `link_weight` x flits over the busiest link, for a given router of every tile.

    `flits[a, b]` go from tile a to tile b, [tiles + 1, tiles + 1]; the last row and column are the I/O port's. The
    diagonal does not count: what stays on a tile never enters the network. `cost[p, q]` is the energy of one flit
    from router p to router q, [routers, routers], in any unit; `link_weight` is in the same unit. One row per node
    where a router has several.

    The busiest link is that of the traffic summed over all phases, under the routes of `network`. Phases run one
    after another and each has a busiest link of its own, so this is an approximation: it spreads the load, but what
    it is worth in cycles must be asked of the latency model.

    Raises ChipError for a matrix that is not square, not finite or negative, for more tiles than routers, and for
    a `link_weight` without a network of as many routers as `cost` has.
    """

    flits: Floats
    cost: Floats
    network: Network | None = None
    link_weight: float = 0.0
    _pairs: tuple[Ints, Ints] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        flits, cost = _table("flits", self.flits), _table("cost", self.cost)
        np.fill_diagonal(flits, 0)
        if len(flits) == 0:
            raise ChipError("flits has no rows: give one per tile and one for the I/O port.")
        if len(flits) - 1 > len(cost):
            raise ChipError(f"{len(flits) - 1} tiles do not fit on {len(cost)} routers. Take a larger chip.")
        if not (math.isfinite(self.link_weight) and self.link_weight >= 0):
            raise ChipError(f"link_weight is {self.link_weight}: give a finite number, 0 or more.")
        if self.link_weight > 0 and (self.network is None or self.network.routers != len(cost)):
            has = "none was given" if self.network is None else f"the given one has {self.network.routers}"
            raise ChipError(f"link_weight needs the routes of a network of {len(cost)} routers, but {has}.")
        object.__setattr__(self, "flits", flits)
        object.__setattr__(self, "cost", cost)
        object.__setattr__(self, "_pairs", np.nonzero(flits))

    @property
    def tiles(self) -> int:
        return len(self.flits) - 1

    def __call__(self, router: Ints) -> float:
        """The value for `router` [tiles + 1], the last entry the port's."""
        energy = self.energy(router)
        return energy + self.link_weight * self.busiest_link(router) if self.link_weight else energy

    def energy(self, router: Ints) -> float:
        """The energy of all traffic, in the unit of `cost`."""
        source, target = self._pairs
        return float(self.flits[source, target] @ self.cost[router[source], router[target]])

    def link_flits(self, router: Ints) -> Floats:
        """Flits over the link that leaves each router through each port, [routers, ports], by walking the routes."""
        network = self.network
        assert network is not None, "loads of links need a network"
        source, target = self._pairs
        flits, at, goal = self.flits[source, target], router[source], router[target]
        loads = np.zeros(network.neighbour.shape)
        while len(at):
            port = network.next_port[at, goal]
            moving = network.neighbour[at, port] >= 0  # the others have arrived
            at, goal, port, flits = at[moving], goal[moving], port[moving], flits[moving]
            np.add.at(loads, (at, port), flits)
            at = network.neighbour[at, port]
        return loads

    def busiest_link(self, router: Ints) -> float:
        """Flits over the busiest link, 0 without any."""
        return float(self.link_flits(router).max(initial=0))

    def check(self, router: Ints) -> Ints:
        """`router` as int64. Raises ChipError unless it gives each tile a router of its own, and the port one."""
        given: NDArray[Any] = np.asarray(router)
        if given.shape != (self.tiles + 1,) or given.dtype.kind not in "iu":
            raise ChipError(
                f"a placement of {self.tiles} tiles is {self.tiles + 1} router numbers, the last the port's, "
                f"not {given.dtype} {given.shape}."
            )
        if given.min() < 0 or given.max() >= len(self.cost):
            raise ChipError(
                f"routers are 0 to {len(self.cost) - 1}, but the placement names {given.min()} to {given.max()}."
            )
        places, tiles = np.unique(given[:-1], return_counts=True)
        if (tiles > 1).any():
            raise ChipError(f"router {places[tiles.argmax()]} has {tiles.max()} tiles. Give each tile its own.")
        return given.astype(np.int64)


def _table(name: str, values: ArrayLike) -> Floats:
    """A square table of finite, non-negative numbers, copied. Raises ChipError."""
    try:
        table = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ChipError(f"{name} is no table of numbers: {error}.") from error
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ChipError(f"{name} has shape {table.shape}: give a square table.")
    wrong = ~(np.isfinite(table) & (table >= 0))
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        raise ChipError(f"{name}[{row}, {column}] is {table[row, column]}: give finite numbers, 0 or more.")
    return table
