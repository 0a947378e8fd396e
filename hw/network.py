"""Routers, the links between them, nodes, and a routing table: what a network-on-chip is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .noc import Ints

ANY_VC = -1
"""Entry of `vc_class` for a packet that may take every VC."""


class Ways(NamedTuple):
    """The ways of pairs of nodes, an entry per pair."""

    links: Ints
    link_cycles: Ints
    """cycles of all links together"""
    interval: Ints
    """cycles between two flits on the slowest link"""
    behind: Ints
    """routers behind that link, the last one if several are as slow"""


@dataclass(frozen=True, eq=False)
class Network:
    """Arrays with one row per router and one column per port, or one per node. `topologies` builds them.

    `neighbour[router, port]` and `neighbour_port[router, port]` say where the link that leaves through a port
    arrives; -1 where there is none, as at the ports of nodes. Links come in pairs, one each way.
    `delay` [routers, ports] is a link's length in cycles (credits take as long back), `interval` the cycles between
    two flits on it, `length` its length in tile pitches, and `package` marks links between chiplets.
    `next_port` [routers, nodes] is the port towards a node; at the node's own router the port where it hangs.
    `node_router` [nodes] is the router of each node. The VCs of a port are divided into `vc_classes` equal parts, and
    `vc_class` [routers, nodes] is the part that a packet for a node takes next, or `ANY_VC`. A packet that goes
    straight on, in through port p ^ 1 and out through p, stays in its class instead. So a torus is free of deadlock.
    """

    neighbour: Ints
    neighbour_port: Ints
    delay: Ints
    interval: Ints
    length: NDArray[np.float64]
    package: NDArray[np.bool_]
    next_port: NDArray[np.int8]
    node_router: Ints
    vc_class: NDArray[np.int8]
    vc_classes: int

    @property
    def routers(self) -> int:
        return self.neighbour.shape[0]

    @property
    def ports(self) -> int:
        """Ports of a router, with those of its nodes."""
        return self.neighbour.shape[1]

    @property
    def nodes(self) -> int:
        return len(self.node_router)

    def hops(self, source: Ints, target: Ints) -> Ints:
        """Links on the way of each pair of nodes, by walking the routing table."""
        return self.ways(source, target).links

    def ways(self, source: Ints, target: Ints) -> Ways:
        """The way of each pair of nodes, by walking the routing table."""
        at, end = self.node_router[source], self.node_router[target]
        links, cycles, interval, behind = np.zeros_like(at), np.zeros_like(at), np.ones_like(at), np.zeros_like(at)
        while (moving := np.flatnonzero(at != end)).size:
            link = at[moving], self.next_port[at[moving], target[moving]]
            links[moving] += 1
            cycles[moving] += self.delay[link]
            slowest = self.interval[link] >= interval[moving]
            interval[moving] = np.maximum(interval[moving], self.interval[link])
            behind[moving] = np.where(slowest, 1, behind[moving] + 1)
            at[moving] = self.neighbour[link]
        return Ways(links, cycles, interval, behind)
