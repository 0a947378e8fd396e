"""Where each tile stands: an order of the chip's places, filled with the tiles in layer order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .arrays import Ints
from .chip import Chip
from .errors import ChipError
from .fabric import fabric
from .grid import Grid
from .hilbert import hilbert
from .network import Network

Order = Literal["row-major", "snake", "hilbert"]

PORT = -1
"""The tile number that stands for the chip's I/O port wherever tiles are counted."""


@dataclass(frozen=True, eq=False)
class Placement:
    """`node[t]` is the node of `network` where tile t stands; its last entry, `node[PORT]`, is the I/O port's.

    The nodes but the port's stand on `grid`: node = y * columns + x.
    """

    network: Network
    grid: Grid
    node: Ints

    @property
    def tiles(self) -> int:
        return len(self.node) - 1

    @property
    def coordinates(self) -> tuple[Ints, Ints]:
        """(x, y) of each tile on the grid."""
        return self.grid.coordinates(self.node[:-1])


def place(chip: Chip, tiles: int, order: Order = "snake") -> Placement:
    """Tiles 0, 1, … along `order`, which knows nothing of the traffic between them (see optimise for that).

    "snake" turns back at every row's end, so neighbours in order are neighbours; "hilbert" folds the order in both
    directions, so that those that are near in order are near. Raises ChipError when the chip has too few tiles or the
    order is unknown.
    """
    if order not in get_args(Order):
        raise ChipError(f"unknown placement order {order!r}: choose one of {', '.join(get_args(Order))}.")
    network, grid = fabric(chip, tiles)
    nodes = np.arange(grid.places).reshape(grid.rows, grid.columns)
    if order == "snake":
        nodes[1::2] = nodes[1::2, ::-1].copy()
    curve = hilbert(grid) if order == "hilbert" else nodes.ravel()
    return Placement(network, grid, np.append(curve[:tiles], network.nodes - 1))
