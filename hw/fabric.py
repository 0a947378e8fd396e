"""The network of a chip, sized to the tiles it has to hold, with the I/O port as its last node."""

from __future__ import annotations

import math

from . import topologies
from .chip import Chip
from .errors import ChipError
from .network import Network
from .noc import Mesh


def fabric(chip: Chip, tiles: int) -> tuple[Network, Mesh]:
    """The network, and the grid on which its nodes but the port stand, node = y * columns + x.

    Raises ChipError when the chip has a size, and fewer places than `tiles`.
    """
    noc = chip.noc
    block = _block(noc.concentration) if noc.topology == "cmesh" else (1, 1)
    if noc.topology in ("ring", "tree"):
        grid = Mesh(noc.columns or max(tiles, noc.port[0] + 1), 1)
    elif noc.columns is not None and noc.rows is not None:
        grid = Mesh(noc.columns * block[0], noc.rows * block[1])
    else:
        grid = _smallest(chip, max(tiles, 1), block)
    if tiles > grid.routers:
        raise ChipError(
            f"the network needs {tiles} tiles, but chip {chip.name!r} has {grid.columns} x {grid.rows} = "
            f"{grid.routers}. Take a chip with more or larger tiles, leave noc.columns and noc.rows "
            "out of its description (the network then grows with the tiles), or map fewer layers."
        )
    network = _build(chip, grid, block)
    port = 0 if noc.topology == "tree" else noc.port[1] * (grid.columns // block[0]) + noc.port[0]
    return network.with_node(port), grid


def _block(concentration: int) -> tuple[int, int]:
    """Tiles (across, down) of one router of a cmesh: as square as the number allows."""
    down = max(d for d in range(1, math.isqrt(concentration) + 1) if concentration % d == 0)
    return concentration // down, down


def _smallest(chip: Chip, tiles: int, block: tuple[int, int]) -> Mesh:
    """The smallest square of whole chiplets, or of routers with `block` tiles each, for the tiles and the port."""
    unit = (chip.nop.chiplet_columns, chip.nop.chiplet_rows) if chip.nop else block
    # The port is given in routers; a chiplet has one per tile.
    x, y = (p * b for p, b in zip(chip.noc.port, block, strict=True))
    edge = math.isqrt(-(-tiles // (unit[0] * unit[1])) - 1) + 1
    edge = max(edge, x // unit[0] + 1, y // unit[1] + 1)
    return Mesh(edge * unit[0], edge * unit[1])


def _build(chip: Chip, grid: Mesh, block: tuple[int, int]) -> Network:
    noc, nop = chip.noc, chip.nop
    columns, rows, cycles = grid.columns // block[0], grid.rows // block[1], noc.link_cycles
    if noc.topology == "torus":
        return topologies.torus(columns, rows, link_cycles=cycles)
    if noc.topology == "ring":
        return topologies.ring(columns, link_cycles=cycles)
    if noc.topology == "tree":
        return topologies.tree(columns, noc.concentration, link_cycles=cycles)
    if noc.topology == "cmesh":
        return topologies.cmesh(columns, rows, *block, noc.routing, link_cycles=cycles)
    if nop is None:
        return topologies.mesh(columns, rows, noc.routing, link_cycles=cycles)
    if columns % nop.chiplet_columns or rows % nop.chiplet_rows:
        raise ChipError(
            f"chip {chip.name!r} of {columns} x {rows} tiles cannot be cut into chiplets of {nop.chiplet_columns} x "
            f"{nop.chiplet_rows}. Give noc.columns and noc.rows that are multiples of a chiplet's."
        )
    return topologies.chiplets(
        columns // nop.chiplet_columns,
        rows // nop.chiplet_rows,
        nop.chiplet_columns,
        nop.chiplet_rows,
        noc.routing,
        link_cycles=cycles,
        package_cycles=nop.link_cycles,
        package_interval=nop.cycles_per_flit,
    )
