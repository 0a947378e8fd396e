"""Routes against walking every path link by link in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw import topologies
from cannon_fx.hw.network import Network
from cannon_fx.hw.routes import walk
from cannon_fx.hw.transfers import Transfers

NETWORKS = {
    "mesh": topologies.mesh(4, 3).with_node(5),
    "yx": topologies.mesh(3, 4, "yx"),
    "torus": topologies.torus(5, 3),
    "ring": topologies.ring(6),
    "cmesh": topologies.cmesh(2, 2),
    "tree": topologies.tree(9, 3),
    "chiplets": topologies.chiplets(2, 2, 2, 3, package_cycles=4),
    "table": topologies.table(6, [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 5)], link_cycles=2),
}


def path(network: Network, source: int, target: int) -> list[tuple[int, int]]:
    """Links (router, port) on the way."""
    router, links = int(network.node_router[source]), []
    while router != network.node_router[target]:
        links.append((router, int(network.next_port[router, target])))
        router = int(network.neighbour[links[-1]])
    return links


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(NETWORKS)), flit_bits=st.sampled_from([1, 7, 32]))
def test_everything_is_counted_as_a_walk_finds_it(data: st.DataObject, name: str, flit_bits: int) -> None:
    network, phases = NETWORKS[name], 3
    tile = st.integers(0, network.nodes - 1)
    node = np.array(data.draw(st.permutations(range(network.nodes))))
    trees = data.draw(
        st.lists(st.tuples(st.integers(0, 2), tile, st.sets(tile, min_size=1, max_size=4), st.integers(0, 200)))
    )
    rows = [
        (phase, source, target, bits, tree)
        for tree, (phase, source, targets, bits) in enumerate(trees)
        for target in targets
    ]
    rows = data.draw(st.permutations(rows))
    transfers = Transfers(*np.array(rows, np.int64).reshape(-1, 5).T)
    found = walk(transfers, flit_bits, phases, network, node)

    loads: Counter[tuple[int, int]] = Counter()
    busy = [Counter[object]() for _ in range(phases)]
    routers = pitches = crossings = sent = 0.0
    for phase, source, targets, bits in trees:
        flits = -(-bits // flit_bits)
        links = {link for target in targets for link in path(network, int(node[source]), int(node[target]))}
        for link in links:
            loads[link] += flits
            busy[phase][link] += flits
            pitches += 0 if network.package[link] else flits * network.length[link]
            crossings += flits * network.package[link]
        routers += flits * (1 + len(links))
        sent += flits
        busy[phase]["out", source] += flits
        for target in targets:
            busy[phase]["in", target] += flits
    for row, (_, source, target, bits, _) in enumerate(rows):
        way = path(network, int(node[source]), int(node[target]))
        assert found.hops[row] == len(way)
        assert found.delay_cycles[row] == sum(network.delay[link] for link in way)
        assert found.flits[row] == -(-bits // flit_bits)
    assert {tuple(map(int, link)): int(found.link_flits[tuple(link)]) for link in np.argwhere(found.link_flits)} == {
        link: flits for link, flits in loads.items() if flits
    }
    assert found.busiest_flits.tolist() == [max(b.values(), default=0) for b in busy]
    assert found.sent.sum() == sent
    assert (found.flits * found.routers).sum() == routers
    assert (found.flits * found.pitches).sum() == pytest.approx(pitches)
    assert (found.flits * found.crossings).sum() == crossings


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_unicast_is_what_the_networks_sums_say(network: Network) -> None:
    nodes = np.arange(network.nodes)
    source, target = np.repeat(nodes, network.nodes), np.tile(nodes, network.nodes)
    found = walk(Transfers.unicast(0, source, target, np.full(len(source), 32)), 32, 1, network, nodes)
    assert found.hops.tolist() == network.hops(source, target).tolist()
    assert found.routers.tolist() == (found.hops + 1).tolist()
    assert found.pitches.tolist() == network.pitches(source, target).tolist()
    assert found.crossings.tolist() == network.crossings(source, target).tolist()


def test_a_multicast_pays_a_shared_link_once() -> None:
    """0 → 2, 5 and 8 on a 3x3 mesh: along the row, then down the last column."""
    rows = [(0, 0, target, 64, 0) for target in (2, 5, 8)]
    found = walk(Transfers(*np.array(rows).T), 32, 1, topologies.mesh(3, 3), np.arange(9))
    assert found.hops.tolist() == [2, 3, 4]
    assert found.routers.tolist() == [3, 1, 1]
    assert found.sent.tolist() == [2, 0, 0]
    assert found.busiest_flits.tolist() == [2]
    alone = walk(Transfers.unicast(0, *np.array(rows).T[1:4]), 32, 1, topologies.mesh(3, 3), np.arange(9))
    assert alone.routers.tolist() == [3, 4, 5]
    assert alone.busiest_flits.tolist() == [6]


def test_nothing_to_send() -> None:
    found = walk(Transfers.concatenate([]), 32, 2, topologies.mesh(2, 2), np.arange(4))
    assert found.busiest_flits.tolist() == [0, 0]
    assert not found.link_flits.any()
