"""Topologies against networkx, closed formulas, and the channel dependency graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest

from cannon_fx.hw import topologies
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.network import ANY_VC, Network

SHORTEST: dict[str, Network] = {
    "mesh": topologies.mesh(4, 3),
    "mesh yx": topologies.mesh(3, 5, "yx"),
    "torus": topologies.torus(5, 4),
    "narrow torus": topologies.torus(2, 1),
    "ring": topologies.ring(7),
    "even ring": topologies.ring(8),
    "two": topologies.ring(2),
    "one": topologies.ring(1),
    "cmesh": topologies.cmesh(3, 2),
    "cmesh 3x1": topologies.cmesh(2, 3, across=3, down=1, routing="yx"),
    "tree": topologies.tree(16),
    "part of a tree": topologies.tree(11, arity=2),
    "chiplets": topologies.chiplets(2, 2, 3, 2),
    "table": topologies.table(9, nx.petersen_graph().subgraph(range(9)).edges),
}


def graph(network: Network) -> nx.DiGraph:
    return nx.DiGraph([(int(r), int(network.neighbour[r, p])) for r, p in np.argwhere(network.neighbour >= 0)])


def pairs(network: Network) -> Any:
    nodes = np.arange(network.nodes)
    return np.repeat(nodes, network.nodes), np.tile(nodes, network.nodes)


@pytest.mark.parametrize("network", SHORTEST.values(), ids=SHORTEST)
def test_every_way_is_a_shortest_one_and_ends_at_its_node(network: Network) -> None:
    lengths = dict(nx.all_pairs_shortest_path_length(graph(network)))
    source, target = pairs(network)
    hops = network.hops(source, target)
    for s, t, h in zip(source, target, hops, strict=True):
        a, b = int(network.node_router[s]), int(network.node_router[t])
        assert h == (lengths[a][b] if a != b else 0)
    # Each node has a port of its own, without a link.
    port = network.next_port[network.node_router, np.arange(network.nodes)]
    assert (network.neighbour[network.node_router, port] == -1).all()
    assert len(set(zip(network.node_router.tolist(), port.tolist(), strict=True))) == network.nodes


@pytest.mark.parametrize("network", SHORTEST.values(), ids=SHORTEST)
def test_links_come_in_pairs(network: Network) -> None:
    for router, port in np.argwhere(network.neighbour >= 0):
        far, far_port = network.neighbour[router, port], network.neighbour_port[router, port]
        assert (network.neighbour[far, far_port], network.neighbour_port[far, far_port]) == (router, port)
        for name in ("delay", "interval", "length", "package"):
            assert getattr(network, name)[far, far_port] == getattr(network, name)[router, port]
        assert network.length[router, port] > 0


@pytest.mark.parametrize("name", [name for name in SHORTEST if name != "table"])
def test_no_circle_of_packets_can_wait_for_each_other(name: str) -> None:
    assert nx.is_directed_acyclic_graph(dependencies(SHORTEST[name]))


def test_a_ring_without_classes_has_such_a_circle() -> None:
    circle = topologies.ring(7)
    classless = circle.routing._replace(first_class=np.zeros_like(circle.routing.first_class))
    assert not nx.is_directed_acyclic_graph(dependencies(replace(circle, routing=classless, vc_classes=1)))


def dependencies(network: Network) -> nx.DiGraph:
    """Which (link, VC class) a packet may hold while it waits for which other."""
    found = nx.DiGraph()
    for source, target in zip(*pairs(network), strict=True):
        router, held, came = int(network.node_router[source]), [], -1
        while router != network.node_router[target]:
            port, chosen = int(network.next_port[router, target]), int(network.vc_class[router, target])
            if port == came ^ 1 and chosen != ANY_VC:
                chosen = held[0][2]
            wanted = [(router, port, c) for c in (range(network.vc_classes) if chosen == ANY_VC else [chosen])]
            found.add_edges_from((a, b) for a in held for b in wanted)
            router, held, came = int(network.neighbour[router, port]), wanted, int(network.neighbour_port[router, port])
    return found


@pytest.mark.parametrize("network", SHORTEST.values(), ids=SHORTEST)
def test_sums_over_ways_are_what_walking_them_finds(network: Network) -> None:
    source, target = pairs(network)
    for name in ("delay", "length", "package"):
        values = getattr(network, name).astype(float)
        expected = []
        for s, t in zip(source, target, strict=True):
            router, total = int(network.node_router[s]), 0.0
            while router != network.node_router[t]:
                port = network.next_port[router, t]
                total += values[router, port]
                router = int(network.neighbour[router, port])
            expected.append(total)
        assert network.path_sums(values)(source, target).tolist() == expected


@pytest.mark.parametrize("network", SHORTEST.values(), ids=SHORTEST)
def test_one_more_node_changes_no_way(network: Network) -> None:
    router = network.routers // 2
    more = network.with_node(router)
    assert more.nodes == network.nodes + 1
    assert np.array_equal(more.next_port[:, :-1], network.next_port)
    assert more.next_port[router, -1] == network.ports
    beside = int(np.flatnonzero(network.node_router == router)[0]) if router in network.node_router else None
    if beside is not None:
        others = np.arange(network.routers) != router
        assert np.array_equal(more.next_port[others, -1], network.next_port[others, beside])
        assert np.array_equal(more.vc_class[:, -1], network.vc_class[:, beside])


def test_xy_goes_east_first_and_yx_south() -> None:
    assert topologies.mesh(3, 3).next_port[0, 8] == 0
    assert topologies.mesh(3, 3, "yx").next_port[0, 8] == 2


def test_distances_have_closed_formulas() -> None:
    network = topologies.torus(6, 5)
    source, target = pairs(network)
    dx, dy = abs(source % 6 - target % 6), abs(source // 6 - target // 6)
    assert network.hops(source, target).tolist() == (np.minimum(dx, 6 - dx) + np.minimum(dy, 5 - dy)).tolist()
    network = topologies.cmesh(3, 4, across=2, down=3)
    source, target = pairs(network)
    dx, dy = abs(source % 6 // 2 - target % 6 // 2), abs(source // 6 // 3 - target // 6 // 3)
    assert network.hops(source, target).tolist() == (dx + dy).tolist()


def test_a_full_tree_joins_at_the_lowest_common_router() -> None:
    network = topologies.tree(64)
    source, target = pairs(network)
    up = sum(source // 4**level != target // 4**level for level in (1, 2, 3))
    assert network.routers == 1 + 4 + 16
    assert network.hops(source, target).tolist() == (2 * up).tolist()
    # As an H-tree of 8x8 tiles: from the middle of 2x2 to the middle of 4x4 to that of 8x8.
    assert sorted(set(network.length[network.neighbour >= 0])) == [2, 4]


def test_links_between_chiplets_are_package_links() -> None:
    network = topologies.chiplets(2, 3, 4, 2, package_cycles=5, package_interval=4)
    plain = topologies.mesh(8, 6)
    assert np.array_equal(network.next_port, plain.next_port)
    assert network.package.sum() == 2 * (6 + 2 * 8)
    assert network.package[3, 0]
    assert not network.package[2, 0]
    assert set(network.delay[network.package]) == {5}
    assert set(network.interval[network.package]) == {4}
    assert set(network.delay[~network.package]) == set(network.interval[~network.package]) == {1}


def test_long_links_take_more_cycles() -> None:
    for network, delay in (
        (topologies.torus(3, 3), 2),
        (topologies.torus(3, 3, link_cycles=3), 6),
        (topologies.mesh(3, 3, link_cycles=3), 3),
        (topologies.cmesh(3, 3, across=3, down=3), 3),
    ):
        assert set(network.delay[network.neighbour >= 0]) == {delay}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: topologies.mesh(0, 4), "columns = 0"),
        (lambda: topologies.mesh(4, 4, "zigzag"), "routing 'zigzag'"),  # type: ignore[arg-type]
        (lambda: topologies.mesh(4, 4, link_cycles=0), "link_cycles = 0"),
        (lambda: topologies.ring(-1), "nodes = -1"),
        (lambda: topologies.cmesh(2, 2, across=8, down=8), "a router with 68 ports"),
        (lambda: topologies.tree(4, arity=1), "arity 1"),
        (lambda: topologies.chiplets(2, 2, 2, 2, package_interval=0), "package_interval = 0"),
        (lambda: topologies.mesh(2.5, 3), "columns = 2.5: give a whole number"),  # type: ignore[arg-type]
        (lambda: topologies.table(4, [(0, 1), (2, 3)]), "several pieces"),
        (lambda: topologies.table(2, [(0, 5)]), "does not join"),
        (lambda: topologies.table(2, [(1, 1)]), "does not join"),
        (lambda: topologies.table(2, []), "several pieces"),
        (lambda: topologies.table(80, [(0, k) for k in range(1, 80)]), "79 links is too large"),
    ],
)
def test_impossible_topologies_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        make()


def test_the_nodes_of_a_graph_may_have_any_names() -> None:
    graph = nx.relabel_nodes(nx.petersen_graph(), lambda node: f"router {9 - node}")
    network, names = topologies.of_graph(graph), list(graph.nodes)
    far = dict(nx.all_pairs_shortest_path_length(graph))
    ends = np.arange(10)
    assert network.hops(ends[:, None], ends).tolist() == [[far[a][b] for b in names] for a in names]
