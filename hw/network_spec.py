"""A network in a few words, as a command line or another tool's file gives it, and the Network built from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from . import topologies
from .errors import ChipError
from .network import Network

Topology = Literal["mesh", "torus", "ring", "cmesh", "tree", "chiplets"]
Routing = Literal["xy", "yx"]

MOST_NODES = 65_536
"""A slip of the pen should not ask for more memory than there is: the routing table has nodes x routers entries."""


@dataclass(frozen=True)
class NetworkSpec:
    """A topology over `columns` x `rows` nodes; node = y * columns + x.

    `block` is the nodes of one router of a concentrated mesh, or the tiles of one chiplet, along x and y. `arity` is a
    tree's. A ring takes the nodes in order. `routing` is for all kinds of mesh. The cycle counts are those of
    `topologies`; with `uniform_links` every link on a chip takes `link_cycles`, however long. Raises ChipError for a
    size that cannot be, and for a grid that is not made of whole blocks.
    """

    topology: Topology
    columns: int
    rows: int
    routing: Routing = "xy"
    block: tuple[int, int] = (2, 2)
    arity: int = 4
    link_cycles: int = 1
    uniform_links: bool = False
    package_cycles: int = 1
    package_interval: int = 1

    def __post_init__(self) -> None:
        if self.topology not in get_args(Topology):
            raise ChipError(f"unknown topology {self.topology!r}: choose one of {', '.join(get_args(Topology))}.")
        if not (self.columns > 0 and self.rows > 0 and self.nodes <= MOST_NODES):
            raise ChipError(f"a network of {self.grid} nodes: give at least 1 x 1 and at most {MOST_NODES} nodes.")
        if self.routing == "yx" and self.topology in ("torus", "ring", "tree"):
            raise ChipError(f"routing 'yx' is for meshes; a {self.topology} is routed in one way only. Leave it out.")
        across, down = self.block
        if self.in_blocks and (min(self.block) < 1 or self.columns % across or self.rows % down):
            part = "chiplets" if self.topology == "chiplets" else "routers"
            raise ChipError(
                f"a network of {self.grid} tiles cannot be cut into {part} of {across} x {down}. Give a size that is a "
                "multiple of theirs."
            )

    @property
    def nodes(self) -> int:
        return self.columns * self.rows

    @property
    def grid(self) -> str:
        return f"{self.columns} x {self.rows}"

    @property
    def in_blocks(self) -> bool:
        """True where `block` matters."""
        return self.topology in ("cmesh", "chiplets")

    def build(self) -> Network:
        """The network. Raises ChipError."""
        network = self._build()
        if not self.uniform_links:
            return network
        return replace(network, delay=np.where(network.package, network.delay, self.link_cycles))

    def _build(self) -> Network:
        across, down = self.block
        parts = self.columns // across, self.rows // down, across, down
        cycles = self.link_cycles
        match self.topology:
            case "mesh":
                return topologies.mesh(self.columns, self.rows, self.routing, link_cycles=cycles)
            case "torus":
                return topologies.torus(self.columns, self.rows, link_cycles=cycles)
            case "ring":
                return topologies.ring(self.nodes, link_cycles=cycles)
            case "cmesh":
                return topologies.cmesh(*parts, self.routing, link_cycles=cycles)
            case "tree":
                return topologies.tree(self.nodes, self.arity, link_cycles=cycles)
            case "chiplets":
                return topologies.chiplets(
                    *parts, self.routing, link_cycles=cycles, package_cycles=self.package_cycles,
                    package_interval=self.package_interval,
                )  # fmt: skip
