"""Topologies: each function builds a Network. Ports and numbers are those of BookSim2, where it has the topology.

A link takes `link_cycles` per tile pitch of its length (`Network.length`, rounded up).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from .arrays import Ints
from .errors import ChipError
from .grid import EAST, NORTH, SOUTH, STEP, WEST
from .network import HERE, Network, Routing

MOST_PORTS = 62
"""Ports of a router that the simulator's masks hold."""

MOST_PLACES = 4096
"""Routers along one dimension: a table of all their pairs is made."""

_BACK = {EAST: WEST, WEST: EAST, SOUTH: NORTH, NORTH: SOUTH}


def mesh(columns: int, rows: int, routing: Literal["xy", "yx"] = "xy", *, link_cycles: int = 1) -> Network:
    """A node per router; along x first, or y. Node = y * columns + x. Ports: east, west, south, north, node."""
    _check(columns=columns, rows=rows)
    return _grid(columns, rows, routing, node_ports=[4], link_cycles=link_cycles)


def torus(columns: int, rows: int, *, link_cycles: int = 1) -> Network:
    """A mesh whose rows and columns are closed to rings, folded, so that every link is two tile pitches long.

    The shorter way round, ties to the east and south; along x first. Packets that go over the wrap-around link of a
    ring and those that do not use different halves of the VCs, so no circle of waiting packets closes.
    """
    _check(columns=columns, rows=rows)
    return _grid(columns, rows, "xy", node_ports=[4], wrap=True, length=(2.0, 2.0), link_cycles=link_cycles)


def ring(nodes: int, *, link_cycles: int = 1) -> Network:
    """Routers in a circle, laid out as a loop with links of one tile pitch; the shorter way, ties upwards.

    Ports: up, down, node. VC classes as on the torus.
    """
    _check(nodes=nodes)
    at = np.arange(nodes)
    neighbour, neighbour_port = _unlinked(nodes, 3)
    if nodes > 1:
        neighbour[:, 0], neighbour[:, 1] = (at + 1) % nodes, (at - 1) % nodes
        neighbour_port[:, 0], neighbour_port[:, 1] = 1, 0
    way, classes = _around(nodes, (0, 1), wrap=True)
    routing = _by_table(way, at, np.full(nodes, 2), classes)
    return _network(
        neighbour, neighbour_port, routing, np.stack([at, 0 * at], 1), vc_classes=2, link_cycles=link_cycles
    )


def cmesh(
    columns: int,
    rows: int,
    across: int = 2,
    down: int = 2,
    routing: Literal["xy", "yx"] = "xy",
    *,
    link_cycles: int = 1,
) -> Network:
    """A concentrated mesh: every router serves a block of `across` x `down` nodes.

    Nodes are numbered row by row over the whole chip. Ports: the nodes of the block, then east, west, south, north;
    links are as long as the block. BookSim2's `cmesh` without its express links.
    """
    _check(columns=columns, rows=rows, across=across, down=down)
    nodes = list(range(across * down))
    return _grid(
        columns, rows, routing, nodes, (across, down), length=(float(across), float(down)), link_cycles=link_cycles
    )


def tree(leaves: int, arity: int = 4, *, link_cycles: int = 1) -> Network:
    """A tree of routers with the nodes below its lowest ones, `arity` under each: the NoC-tree of IMC chips.

    `leaves` nodes need not fill the tree; routers without nodes below are left out. Laid out as an H-tree: the link to
    the parent is half the side of the square of nodes below the parent. Router 0 is the root.
    Ports: the children or nodes, then the parent.
    """
    _check(leaves=leaves)
    if not 2 <= arity < MOST_PORTS:
        raise ChipError(f"a tree of arity {arity}: a router has 2 to {MOST_PORTS - 1} children.")
    _check_table(2 * leaves // arity)
    sizes = [-(-leaves // arity)]
    while sizes[0] > 1:
        sizes.insert(0, -(-sizes[0] // arity))
    first = np.cumsum([0, *sizes])
    level = np.repeat(np.arange(len(sizes)), sizes)
    neighbour, neighbour_port = _unlinked(int(first[-1]), arity + 1)
    length = np.zeros(neighbour.shape)
    for depth in range(1, len(sizes)):
        child = np.arange(sizes[depth])
        parent, port = first[depth - 1] + child // arity, child % arity
        neighbour[parent, port], neighbour_port[parent, port] = first[depth] + child, arity
        neighbour[first[depth] + child, arity], neighbour_port[first[depth] + child, arity] = parent, port
        length[parent, port] = length[first[depth] + child, arity] = arity ** ((len(sizes) - depth + 1) / 2) / 2
    node = np.arange(leaves)
    node_router = first[-2] + node // arity
    # A router above a node sends down to the child over it, any other up.
    below = arity ** (len(sizes) - 1 - level)
    here = np.arange(first[-1]) - first[level]
    # The routers over a router at each level: (number in its own level) // arity ** (levels between).
    between = level[None, :] - level[:, None]
    over = (between >= 0) & (here[None, :] // arity ** np.maximum(between, 0) == here[:, None])
    down = here[None, :] // arity ** np.maximum(between - 1, 0) % arity
    way = np.where(over, down, arity)
    place = np.stack([(here + 0.5) * below, level], 1)
    return _network(
        neighbour, neighbour_port, _by_table(way, node_router, node % arity), place, length, link_cycles=link_cycles
    )


def chiplets(
    columns: int,
    rows: int,
    tile_columns: int,
    tile_rows: int,
    routing: Literal["xy", "yx"] = "xy",
    *,
    link_cycles: int = 1,
    package_cycles: int = 1,
    package_interval: int = 1,
) -> Network:
    """`columns` x `rows` chiplets, each a mesh of tiles; one mesh over all, node = y * (all columns) + x.

    Links between chiplets (network-on-package) take `package_cycles`, and carry a flit every `package_interval`.
    """
    _check(columns=columns, rows=rows, tile_columns=tile_columns, tile_rows=tile_rows)
    _check(package_cycles=package_cycles, package_interval=package_interval)
    whole = _grid(columns * tile_columns, rows * tile_rows, routing, [4], link_cycles=link_cycles)
    router = np.arange(whole.routers)
    x, y = router % (columns * tile_columns), router // (columns * tile_columns)
    chiplet = y // tile_rows * columns + x // tile_columns
    package = (whole.neighbour >= 0) & (chiplet[whole.neighbour] != chiplet[:, None])
    delay = np.where(package, package_cycles, whole.delay)
    interval = np.where(package, package_interval, whole.interval)
    return replace(whole, delay=delay, interval=interval, package=package)


def table(routers: int, edges: Iterable[tuple[int, int]], *, link_cycles: int = 1) -> Network:
    """Any connected graph, every edge a link each way, shortest paths; ties go to the lower neighbour.

    `edges` are pairs of router numbers; each router has a node behind its last port. Free of deadlock on a tree; on a
    graph with cycles packets may wait for each other in a circle, which the simulator reports. Raises ChipError for an
    edge outside the graph, a graph in several pieces and a router with more links than `MOST_PORTS` - 1.
    """
    _check(routers=routers)
    _check_table(routers)
    pairs = {(min(a, b), max(a, b)) for a, b in edges}
    for a, b in pairs:
        if a == b or a < 0 or b >= routers:
            raise ChipError(f"edge {a, b} does not join two of the routers 0 to {routers - 1}.")
    ends = np.array(sorted(pairs | {(b, a) for a, b in pairs}), np.int64).reshape(-1, 2).T
    degree = np.bincount(ends[0], minlength=routers)
    ports = int(degree.max()) + 1
    if ports > MOST_PORTS:
        raise ChipError(f"a router with {ports - 1} links is too large: at most {MOST_PORTS - 1} can be simulated.")
    neighbour, neighbour_port = _unlinked(routers, ports)
    port = np.arange(ends.shape[1]) - np.repeat(np.cumsum(degree) - degree, degree)
    neighbour[ends[0], port] = ends[1]
    back = np.lexsort(ends)  # Sorted by the far end: the edge that leads back to each.
    neighbour_port[ends[0], port] = port[back]
    links = csr_array((np.ones(ends.shape[1]), ends), (routers, routers))
    distance = shortest_path(links, method="D", unweighted=True)
    if np.isinf(distance).any():
        a, b = map(int, np.argwhere(np.isinf(distance))[0])
        raise ChipError(f"the network is in several pieces: no path from router {a} to router {b}. Add links.")
    next_port = np.full((routers, routers), -1)
    for p in reversed(range(ports - 1)):
        nearer = (neighbour[:, p] >= 0)[:, None] & (distance[neighbour[:, p]] < distance)
        next_port[nearer] = p
    at = np.arange(routers)
    routing = _by_table(next_port, at, np.full(routers, ports - 1))
    return _network(neighbour, neighbour_port, routing, np.stack([at, 0 * at], 1), link_cycles=link_cycles)


def of_graph(graph: Any, *, link_cycles: int = 1) -> Network:
    """A networkx graph, whatever its nodes are called: router k is the k-th of `graph.nodes`. See `table`."""
    number = {label: router for router, label in enumerate(graph.nodes)}
    return table(len(number), ((number[a], number[b]) for a, b in graph.edges), link_cycles=link_cycles)


def _grid(
    columns: int,
    rows: int,
    routing: str,
    node_ports: list[int],
    block: tuple[int, int] = (1, 1),
    wrap: bool = False,
    length: tuple[float, float] = (1.0, 1.0),
    *,
    link_cycles: int,
) -> Network:
    """Routers on a grid with `block` nodes each, which hang at `node_ports`; the links take the four other ports."""
    if routing not in ("xy", "yx"):
        raise ChipError(f"routing {routing!r} is unknown: choose 'xy' or 'yx'.")
    ports = 4 + len(node_ports)
    if ports > MOST_PORTS:
        raise ChipError(f"a router with {ports} ports is too large: at most {MOST_PORTS} can be simulated.")
    east = 0 if node_ports[0] else len(node_ports)
    routers = np.arange(columns * rows)
    x, y = routers % columns, routers // columns
    neighbour, neighbour_port = _unlinked(len(routers), ports)
    lengths = np.zeros(neighbour.shape)
    for direction, (dx, dy) in enumerate(STEP):
        inside = (0 <= x + dx) & (x + dx < columns) & (0 <= y + dy) & (y + dy < rows)
        if wrap:
            inside[:] = (columns if dx else rows) > 1
        there = (y + dy) % rows * columns + (x + dx) % columns
        neighbour[inside, east + direction] = there[inside]
        neighbour_port[inside, east + direction] = east + _BACK[direction]
        lengths[inside, east + direction] = length[abs(dy)]
    across, down = block
    node = np.arange(len(routers) * across * down)
    node_x, node_y = node % (columns * across), node // (columns * across)
    node_router = node_y // down * columns + node_x // across
    port = np.array(node_ports)[node_y % down * across + node_x % across]
    ways = {
        "x": (x, *_around(columns, (east + EAST, east + WEST), wrap)),
        "y": (y, *_around(rows, (east + SOUTH, east + NORTH), wrap)),
    }
    (first, first_way, first_class), (second, second_way, second_class) = ways[routing[0]], ways[routing[1]]
    way = Routing(first, second, first_way, second_way, first_class, second_class, node_router, port)
    place = np.stack([x * across, y * down], 1)
    return _network(
        neighbour, neighbour_port, way, place, lengths, vc_classes=2 if wrap else 1, link_cycles=link_cycles
    )


def _around(size: int, ports: tuple[int, int], wrap: bool) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Ports (up, down) along one dimension from each place to each, and the VC class.

    Packets that have the wrap-around link ahead are in class 1 on the way up and in 0 on the way down, the
    others in the other class: in BookSim2's half of the VCs each.
    """
    _check_table(size)
    at = np.arange(size)
    way = at[None, :] - at[:, None]
    short = (way + (size - 1) // 2) % size - (size - 1) // 2 if wrap else way
    port = np.select([short > 0, short < 0], ports, HERE)
    return port.astype(np.int8), ((short != way) ^ (short < 0)).astype(np.int8)


def _by_table(
    way: NDArray[np.integer], node_router: Ints, node_port: Ints, classes: NDArray[np.int8] | None = None
) -> Routing:
    """Routing by one table of ports from router to router."""
    _check_table(len(way))
    routers = np.arange(len(way))
    first_way = way.astype(np.int8)
    np.fill_diagonal(first_way, HERE)
    one = np.full((1, 1), HERE, np.int8)
    if classes is None:
        classes = np.zeros_like(first_way)
    return Routing(routers, np.zeros_like(routers), first_way, one, classes, one, node_router, node_port)


def _unlinked(routers: int, ports: int) -> tuple[Ints, Ints]:
    return np.full((routers, ports), -1), np.full((routers, ports), -1)


def _network(
    neighbour: Ints,
    neighbour_port: Ints,
    routing: Routing,
    place: NDArray[np.float64] | Ints,
    length: NDArray[np.float64] | None = None,
    *,
    vc_classes: int = 1,
    link_cycles: int,
) -> Network:
    """Links of one tile pitch where no length is given; none of them between chiplets."""
    _check(link_cycles=link_cycles)
    linked = neighbour >= 0
    if length is None:
        length = linked.astype(np.float64)
    delay = np.maximum(np.ceil(length).astype(np.int64) * link_cycles, 1)
    return Network(
        neighbour, neighbour_port, delay, np.ones_like(delay), length, np.zeros_like(linked),
        routing, vc_classes, np.asarray(place, np.float64),
    )  # fmt: skip


def _check_table(places: int) -> None:
    if places > MOST_PLACES:
        raise ChipError(
            f"{places} routers in one row, ring, tree or graph need a routing table of {places} x {places}: at most "
            f"{MOST_PLACES} can be built. Give a network of two dimensions."
        )


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise ChipError(f"{name} = {size}: give a whole number from 1 on.")
