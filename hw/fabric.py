"""The network of a chip, sized to the tiles it has to hold, with the I/O port as its last node."""

from __future__ import annotations

import math
from typing import Any

from .chip import Chip
from .errors import ChipError
from .grid import Grid
from .network import Network
from .network_spec import NetworkSpec


def fabric(chip: Chip, tiles: int) -> tuple[Network, Grid]:
    """The network, and the grid on which its nodes but the port stand, node = y * columns + x.

    Raises ChipError when the chip has a size, and fewer places than `tiles`.
    """
    spec = spec_of(chip, tiles)
    if tiles > spec.nodes:
        raise ChipError(
            f"the network needs {tiles} tiles, but chip {chip.name!r} has {spec.grid} = "
            f"{spec.nodes}. Take a chip with more or larger tiles, leave noc.columns and noc.rows "
            "out of its description (the network then grows with the tiles), or map fewer layers."
        )
    x, y = chip.noc.port
    across = spec.block[0] if spec.topology == "cmesh" else 1
    port = 0 if spec.topology == "tree" else y * (spec.columns // across) + x
    return spec.build().with_node(port), Grid(spec.columns, spec.rows)


def spec_of(chip: Chip, tiles: int) -> NetworkSpec:
    """The chip's network without the port: of its own size, else the smallest for `tiles` and the port."""
    noc, nop = chip.noc, chip.nop
    options: dict[str, Any] = {"routing": noc.routing, "link_cycles": noc.link_cycles}
    unit = (1, 1)  # tiles of the parts that the network is made of
    if nop is not None:
        unit = nop.chiplet_columns, nop.chiplet_rows
        options |= {"block": unit, "package_cycles": nop.link_cycles, "package_interval": nop.cycles_per_flit}
    elif noc.topology == "cmesh":
        unit = _block(noc.concentration)
        options["block"] = unit
    elif noc.topology == "tree":
        options["arity"] = noc.concentration
    # Sizes and the port are given in routers; a chiplet has one per tile.
    across, down = unit if noc.topology == "cmesh" else (1, 1)
    if noc.topology in ("ring", "tree"):
        columns, rows = noc.columns or max(tiles, noc.port[0] + 1), 1
    elif noc.columns is not None and noc.rows is not None:
        columns, rows = noc.columns * across, noc.rows * down
    else:
        edge = math.isqrt(-(-max(tiles, 1) // (unit[0] * unit[1])) - 1) + 1
        edge = max(edge, noc.port[0] * across // unit[0] + 1, noc.port[1] * down // unit[1] + 1)
        columns, rows = edge * unit[0], edge * unit[1]
    return NetworkSpec(noc.topology, columns, rows, **options)


def _block(concentration: int) -> tuple[int, int]:
    """Tiles (across, down) of one router of a cmesh: as square as the number allows."""
    down = max(d for d in range(1, math.isqrt(concentration) + 1) if concentration % d == 0)
    return concentration // down, down
