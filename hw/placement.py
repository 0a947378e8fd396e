"""Where each tile stands: an order of the mesh's routers, filled with the tiles in layer order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .chip import Chip
from .errors import ChipError
from .hilbert import hilbert
from .noc import Ints, Mesh

Order = Literal["row-major", "snake", "hilbert"]

PORT = -1
"""The tile number that stands for the chip's I/O port wherever tiles are counted."""


@dataclass(frozen=True)
class Placement:
    """`router[t]` is the router of tile t; its last entry, `router[PORT]`, is the router of the I/O port."""

    mesh: Mesh
    router: Ints

    @property
    def tiles(self) -> int:
        return len(self.router) - 1


def mesh_of(chip: Chip, tiles: int) -> Mesh:
    """The chip's mesh, or the smallest square that holds `tiles` and the port. Raises ChipError when too small."""
    noc = chip.noc
    if noc.columns is None or noc.rows is None:
        edge = max(math.isqrt(max(tiles, 1) - 1) + 1, *(coordinate + 1 for coordinate in noc.port))
        return Mesh(edge, edge)
    if tiles > noc.columns * noc.rows:
        raise ChipError(
            f"the network needs {tiles} tiles, but chip {chip.name!r} has {noc.columns} x {noc.rows} = "
            f"{noc.columns * noc.rows}. Take a chip with more or larger tiles, leave noc.columns and noc.rows "
            "out of its description (the mesh then grows with the network), or map fewer layers."
        )
    return Mesh(noc.columns, noc.rows)


def place(chip: Chip, tiles: int, order: Order = "snake") -> Placement:
    """Tiles 0, 1, … along `order`; it knows nothing of the traffic between them (see optimise for that).

    "snake" turns back at every row's end, so neighbours in order are neighbours; "hilbert" folds the order in both
    directions, so those that are near in order are near. Raises ChipError when the chip has too few tiles or the
    order is unknown.
    """
    if order not in get_args(Order):
        raise ChipError(f"unknown placement order {order!r}: choose one of {', '.join(get_args(Order))}.")
    mesh = mesh_of(chip, tiles)
    routers = np.arange(mesh.routers).reshape(mesh.rows, mesh.columns)
    if order == "snake":
        routers[1::2] = routers[1::2, ::-1].copy()
    curve = hilbert(mesh) if order == "hilbert" else routers.ravel()
    port = chip.noc.port[1] * mesh.columns + chip.noc.port[0]
    return Placement(mesh, np.append(curve[:tiles], port))
