"""What a good placement minimises: the energy of all traffic, and if asked for the load of the busiest link."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Floats, Ints
from .errors import ChipError
from .network import Network


@dataclass(frozen=True, eq=False)
class Objective:
    """energy + `link_weight` x cycles of the busiest link, for a given node of every tile.

    `flits[a, b]` go from tile a to tile b, [tiles + 1, tiles + 1]; the last row and column are the I/O port's. The
    diagonal does not count: what stays on a tile never enters the network. `cost[p, q]` is the energy of one flit
    from node p to node q, [nodes, nodes], in any unit; `link_weight` is in that unit per cycle.

    A link is busy for its flits x its interval. Flits are summed over all phases here, though phases run one after
    another and each has a busiest link of its own: an approximation that spreads the load. What it is worth in cycles
    must be asked of the latency model.

    Raises ChipError for a table that is not square, not finite or negative, for more tiles than nodes beside the
    port's, and for a `link_weight` without a network of as many nodes as `cost` has.
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
        if len(flits) > len(cost):
            raise ChipError(f"{len(flits) - 1} tiles and a port do not fit on {len(cost)} nodes. Take a larger chip.")
        if not (math.isfinite(self.link_weight) and self.link_weight >= 0):
            raise ChipError(f"link_weight is {self.link_weight}: give a finite number, 0 or more.")
        if self.link_weight > 0 and (self.network is None or self.network.nodes != len(cost)):
            has = "none was given" if self.network is None else f"the given one has {self.network.nodes}"
            raise ChipError(f"link_weight needs the routes of a network of {len(cost)} nodes, but {has}.")
        object.__setattr__(self, "flits", flits)
        object.__setattr__(self, "cost", cost)
        object.__setattr__(self, "_pairs", np.nonzero(flits))

    @property
    def tiles(self) -> int:
        return len(self.flits) - 1

    def __call__(self, node: Ints) -> float:
        """The value for `node` [tiles + 1], whose last entry is the port's."""
        energy = self.energy(node)
        return energy + self.link_weight * float(self.link_cycles(node).max()) if self.link_weight else energy

    def energy(self, node: Ints) -> float:
        """The energy of all traffic, in the unit of `cost`."""
        source, target = self._pairs
        return float(self.flits[source, target] @ self.cost[node[source], node[target]])

    def link_cycles(self, node: Ints) -> Floats:
        """How long the link that leaves each router through each port is busy, [routers, ports]."""
        network = self.network
        assert network is not None, "loads of links need a network"
        source, target = self._pairs
        flits, at, goal = self.flits[source, target], network.node_router[node[source]], node[target]
        cycles = np.zeros(network.neighbour.shape)
        while len(at):
            port = network.next_port[at, goal]
            moving = network.neighbour[at, port] >= 0  # the others have arrived
            at, goal, port, flits = at[moving], goal[moving], port[moving], flits[moving]
            np.add.at(cycles, (at, port), flits * network.interval[at, port])
            at = network.neighbour[at, port]
        return cycles

    def check(self, node: ArrayLike) -> Ints:
        """`node` as int64. Raises ChipError unless it gives each tile, and the port, a node of its own."""
        given: NDArray[Any] = np.asarray(node)
        if given.shape != (self.tiles + 1,) or given.dtype.kind not in "iu":
            raise ChipError(
                f"a placement of {self.tiles} tiles is {self.tiles + 1} node numbers, the last the port's, "
                f"not {given.dtype} {given.shape}."
            )
        if given.min() < 0 or given.max() >= len(self.cost):
            raise ChipError(
                f"nodes are 0 to {len(self.cost) - 1}, but the placement has {given.min()} to {given.max()}."
            )
        nodes, tiles = np.unique(given, return_counts=True)
        if (tiles > 1).any():
            raise ChipError(f"node {nodes[tiles.argmax()]} was given {tiles.max()} times. Give each tile its own.")
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
