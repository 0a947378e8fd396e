"""Routers, the links between them, nodes, and routing: what a network-on-chip is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Ints

ANY_VC = -1
"""VC class of a packet that may take every VC."""

HERE = -1
"""Entry of a way table where router and node agree."""


class Routing(NamedTuple):
    """The way to every node, one dimension after the other, in a form that compiled code reads.

    Every router has a place [0..m) along the first dimension and [0..n) along the second. `first_way` int8 [m, m] is
    the port from a place towards another, `HERE` where they agree; then `second_way` [n, n] decides, and at last the
    port `node_port` [nodes] of the node at its router `node_router` [nodes]. `first_class` and `second_class` are the
    classes of the VCs to take meanwhile. A grid needs two small tables; any other graph has all routers on the first.
    """

    first: Ints
    second: Ints
    first_way: NDArray[np.int8]
    second_way: NDArray[np.int8]
    first_class: NDArray[np.int8]
    second_class: NDArray[np.int8]
    node_router: Ints
    node_port: Ints


class PathSums(NamedTuple):
    """What the links between two nodes sum up to, by the places of both along each dimension."""

    routing: Routing
    first: NDArray[Any]
    second: NDArray[Any]

    def __call__(self, source: Ints, target: Ints) -> NDArray[Any]:
        """The sum for every pair of nodes; the arguments broadcast."""
        way = self.routing
        a, b = way.node_router[source], way.node_router[target]
        return self.first[way.first[a], way.first[b]] + self.second[way.second[a], way.second[b]]


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
    """Arrays with one row per router and one column per port. `topologies` builds them.

    `neighbour[router, port]` and `neighbour_port[router, port]` say where the link that leaves through a port
    arrives; -1 where there is none, as at the ports of nodes. Links come in pairs, one each way.
    `delay` is a link's length in cycles (credits take as long back), `interval` the cycles between
    two flits on it, `length` its length in tile pitches, and `package` marks links between chiplets.
    The VCs of a port are divided into `vc_classes` equal parts; a packet that goes straight on, in through port p ^ 1
    and out through p, stays in its class, any other takes the class that `Routing` says: so a torus cannot deadlock.
    `place` float64 [routers, 2] is where a router stands on a drawing: x to the right, y down.
    """

    neighbour: Ints
    neighbour_port: Ints
    delay: Ints
    interval: Ints
    length: NDArray[np.float64]
    package: NDArray[np.bool_]
    routing: Routing
    vc_classes: int
    place: NDArray[np.float64]

    @property
    def routers(self) -> int:
        return self.neighbour.shape[0]

    @property
    def ports(self) -> int:
        """Ports of a router, with those of its nodes."""
        return self.neighbour.shape[1]

    @property
    def nodes(self) -> int:
        return len(self.routing.node_router)

    @property
    def links(self) -> int:
        """Links between routers, each direction counted."""
        return int((self.neighbour >= 0).sum())

    @property
    def node_router(self) -> Ints:
        """[nodes]: the router of each node."""
        return self.routing.node_router

    @cached_property
    def next_port(self) -> NDArray[np.int8]:
        """int8 [routers, nodes]: the port towards a node; at the node's own router the port where it hangs."""
        return self._spread(self.routing.first_way, self.routing.second_way, self.routing.node_port)

    @cached_property
    def vc_class(self) -> NDArray[np.int8]:
        """int8 [routers, nodes]: the class of the VC that a packet for a node takes next, or `ANY_VC`."""
        return self._spread(self.routing.first_class, self.routing.second_class, np.full(self.nodes, ANY_VC))

    def _spread(self, first: NDArray[np.int8], second: NDArray[np.int8], at_node: Ints) -> NDArray[np.int8]:
        """Both dimensions' tables as one of [routers, nodes]."""
        way = self.routing
        one, two = way.first[way.node_router], way.second[way.node_router]
        found: NDArray[np.int8] = np.where(
            way.first_way[way.first[:, None], one] != HERE,
            first[way.first[:, None], one],
            np.where(
                way.second_way[way.second[:, None], two] != HERE,
                second[way.second[:, None], two],
                at_node[None, :].astype(np.int8),
            ),
        )
        return found

    @cached_property
    def hops(self) -> PathSums:
        """hops(source, target): links between pairs of nodes."""
        return self.path_sums(np.ones(self.neighbour.shape, np.int64))

    @cached_property
    def pitches(self) -> PathSums:
        """pitches(source, target): length of the links on chip, in tile pitches."""
        return self.path_sums(np.where(self.package, 0.0, self.length))

    @cached_property
    def crossings(self) -> PathSums:
        """crossings(source, target): links between chiplets."""
        return self.path_sums(self.package.astype(np.int64))

    def path_sums(self, values: NDArray[Any]) -> PathSums:
        """Sums of `values` [routers, ports] over the links between pairs of nodes.

        What a link along one dimension counts must not depend on the place along the other.
        """
        way = self.routing
        tables = []
        for at, ways, other in ((way.first, way.first_way, way.second), (way.second, way.second_way, way.first)):
            # The router at each place, with the other place 0: links elsewhere count the same.
            line = np.zeros(len(ways), np.int64)
            line[at[other == 0]] = np.flatnonzero(other == 0)
            here, there = np.divmod(np.arange(ways.size), len(ways))
            total = np.zeros(ways.size, values.dtype)
            while (moving := here != there).any():
                router, port = line[here[moving]], ways[here[moving], there[moving]]
                total[moving] += values[router, port]
                here[moving] = at[self.neighbour[router, port]]
            tables.append(total.reshape(ways.shape))
        return PathSums(way, tables[0], tables[1])

    def with_node(self, router: int) -> Network:
        """The same network with one more node, the last, behind a new port of `router`."""

        def widened(values: NDArray[Any], empty: int) -> NDArray[Any]:
            return np.pad(values, ((0, 0), (0, 1)), constant_values=empty)

        routing = self.routing._replace(
            node_router=np.append(self.node_router, router), node_port=np.append(self.routing.node_port, self.ports)
        )
        return replace(
            self,
            neighbour=widened(self.neighbour, -1),
            neighbour_port=widened(self.neighbour_port, -1),
            delay=widened(self.delay, 1),
            interval=widened(self.interval, 1),
            length=widened(self.length, 0),
            package=widened(self.package, 0),
            routing=routing,
        )

    def _port_towards(self, router: Ints, end: Ints) -> Ints:
        """The port from each router towards another, which it is not."""
        way = self.routing
        port = way.first_way[way.first[router], way.first[end]]
        beside = way.second_way[way.second[router], way.second[end]]
        return np.where(port == HERE, beside, port)

    def ways(self, source: Ints, target: Ints) -> Ways:
        """The way of each pair of nodes, link by link."""
        at, end = self.node_router[source], self.node_router[target]
        links, cycles, interval, behind = np.zeros_like(at), np.zeros_like(at), np.ones_like(at), np.zeros_like(at)
        while (moving := np.flatnonzero(at != end)).size:
            link = at[moving], self._port_towards(at[moving], end[moving])
            links[moving] += 1
            cycles[moving] += self.delay[link]
            slowest = self.interval[link] >= interval[moving]
            interval[moving] = np.maximum(interval[moving], self.interval[link])
            behind[moving] = np.where(slowest, 1, behind[moving] + 1)
            at[moving] = self.neighbour[link]
        return Ways(links, cycles, interval, behind)
