"""Routers, links between them, and a routing table: what the flit simulator runs on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ChipError
from .noc import EAST, NORTH, SOUTH, STEP, WEST, Ints, Mesh
from .sim_state import MASK_BITS

BACK = {EAST: WEST, WEST: EAST, SOUTH: NORTH, NORTH: SOUTH}


@dataclass(frozen=True, eq=False)
class Network:
    """One node per router, behind the router's last port; all arrays have one row per router.

    `neighbour[router, port]` and `neighbour_port[router, port]` say where the link that leaves through a port
    arrives, -1 for none. `delay[router, port]` is that link's length in cycles (credits take as long back).
    `next_port[router, target]` is the port towards a router; for itself the last one, where packets leave.
    """

    neighbour: Ints
    neighbour_port: Ints
    delay: Ints
    next_port: NDArray[np.int8]

    @property
    def routers(self) -> int:
        return self.neighbour.shape[0]

    @property
    def ports(self) -> int:
        """Ports of a router, with the one of its node."""
        return self.neighbour.shape[1]

    def hops(self, source: Ints, target: Ints) -> Ints:
        """Links on the way of each pair, by walking the routing table."""
        at, hops = np.array(source, np.int64), np.zeros(len(source), np.int64)
        while (moving := at != target).any():
            at[moving] = self.neighbour[at[moving], self.next_port[at[moving], target[moving]]]
            hops += moving
        return hops

    @classmethod
    def mesh(cls, mesh: Mesh) -> Network:
        """A mesh with XY routing and links of one cycle. Ports: east, west, south, north, node."""
        routers = np.arange(mesh.routers)
        x, y = mesh.coordinates(routers)
        neighbour = np.full((mesh.routers, 5), -1)
        neighbour_port = np.full((mesh.routers, 5), -1)
        for direction, (dx, dy) in enumerate(STEP):
            inside = (0 <= x + dx) & (x + dx < mesh.columns) & (0 <= y + dy) & (y + dy < mesh.rows)
            neighbour[inside, direction] = (routers + dx + dy * mesh.columns)[inside]
            neighbour_port[inside, direction] = BACK[direction]
        right, down = x[None, :] - x[:, None], y[None, :] - y[:, None]
        next_port = np.select([right > 0, right < 0, down > 0, down < 0], [EAST, WEST, SOUTH, NORTH], 4)
        return cls(neighbour, neighbour_port, np.ones_like(neighbour), next_port.astype(np.int8))

    @classmethod
    def table(cls, routers: int, edges: Iterable[tuple[int, int]], link_cycles: int = 1) -> Network:
        """Any connected graph, every edge a link each way, shortest paths; ties go to the lower neighbour.

        `edges` are pairs of router numbers, such as `graph.edges` of a networkx graph with nodes 0, 1, ...
        Free of deadlock on a tree; on a graph with cycles packets may wait for each other in a circle, which
        the simulator reports. Raises ChipError for an edge outside the graph and a graph in several pieces.
        """
        if routers < 1 or link_cycles < 1:
            raise ChipError(f"{routers} routers with links of {link_cycles} cycles: give at least 1 of each.")
        around: list[set[int]] = [set() for _ in range(routers)]
        for a, b in edges:
            if not (0 <= a < routers and 0 <= b < routers) or a == b:
                raise ChipError(f"edge {a, b} does not join two of the routers 0 to {routers - 1}.")
            around[a].add(b)
            around[b].add(a)
        ports = max(map(len, around)) + 1
        if ports > MASK_BITS:
            raise ChipError(f"a router with {ports - 1} links is too large: at most {MASK_BITS - 1} can be simulated.")
        order = [sorted(neighbours) for neighbours in around]
        neighbour, neighbour_port = np.full((routers, ports), -1), np.full((routers, ports), -1)
        for router, neighbours in enumerate(order):
            for port, other in enumerate(neighbours):
                neighbour[router, port] = other
                neighbour_port[router, port] = order[other].index(router)
        next_port = np.full((routers, routers), -1, np.int8)
        for target in range(routers):
            next_port[target, target] = ports - 1
            queue = deque([target])
            while queue:
                router = queue.popleft()
                for other in order[router]:
                    if next_port[other, target] < 0:
                        next_port[other, target] = order[other].index(router)
                        queue.append(other)
        if (next_port < 0).any():
            a, b = map(int, np.argwhere(next_port < 0)[0])
            raise ChipError(f"the network is in several pieces: no path from router {a} to router {b}. Add links.")
        return cls(neighbour, neighbour_port, np.full_like(neighbour, link_cycles), next_port)
