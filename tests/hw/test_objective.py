"""The objective against sums written out, on every topology; and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cannon_fx.hw import topologies
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.network import Network
from cannon_fx.hw.objective import Objective

NETWORKS = {
    "mesh": topologies.mesh(3, 3),
    "torus": topologies.torus(4, 3),
    "ring": topologies.ring(9),
    "cmesh": topologies.cmesh(2, 2, 2, 2),
    "tree": topologies.tree(9, 3),
    "chiplets": topologies.chiplets(2, 2, 2, 2, package_interval=3),
}


def random_case(network: Network, tiles: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """flits, cost and node."""
    rng = np.random.default_rng(seed)
    flits = rng.integers(0, 9, (tiles + 1, tiles + 1)) * (rng.random((tiles + 1, tiles + 1)) < 0.5)
    node = np.append(rng.permutation(network.nodes - 1)[:tiles], network.nodes - 1)
    return flits, rng.random((network.nodes, network.nodes)), node


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_a_walk_of_every_flit(name: str) -> None:
    network = NETWORKS[name].with_node(1)
    flits, cost, node = random_case(network, 7, 3)
    energy, cycles = 0.0, dict.fromkeys(np.ndindex(network.neighbour.shape), 0)
    for a, b in zip(*np.nonzero(flits), strict=True):
        if a == b:
            continue
        energy += flits[a, b] * cost[node[a], node[b]]
        at = network.node_router[node[a]]
        while at != network.node_router[node[b]]:
            port = int(network.next_port[at, node[b]])
            cycles[at, port] += flits[a, b] * network.interval[at, port]
            at = network.neighbour[at, port]
    objective = Objective(flits, cost, network, 2.5)
    assert objective.energy(node) == pytest.approx(energy, rel=1e-12)
    assert objective.link_cycles(node).tolist() == [
        [cycles[router, port] for port in range(network.ports)] for router in range(network.routers)
    ]
    assert objective(node) == pytest.approx(energy + 2.5 * max(cycles.values()), rel=1e-12)
    assert Objective(flits, cost)(node) == pytest.approx(energy, rel=1e-12)


def with_(table: np.ndarray, value: float) -> np.ndarray:
    changed = table.astype(float)
    changed[1, 2] = value
    return changed


FLITS, COST = np.ones((4, 4)), np.ones((5, 5))


@pytest.mark.parametrize(
    ("flits", "cost", "options", "message"),
    [
        (np.ones((4, 3)), COST, {}, r"flits has shape \(4, 3\): give a square"),
        (FLITS, np.ones(5), {}, r"cost has shape \(5,\): give a square"),
        (with_(FLITS, math.nan), COST, {}, r"flits\[1, 2\] is nan"),
        (with_(FLITS, -1), COST, {}, r"flits\[1, 2\] is -1"),
        (FLITS, with_(COST, math.inf), {}, r"cost\[1, 2\] is inf"),
        (FLITS, with_(COST, -0.5), {}, r"cost\[1, 2\] is -0.5"),
        ([["a"]], COST, {}, "flits is no table of numbers"),
        (np.ones((0, 0)), COST, {}, "flits has no rows"),
        (np.ones((6, 6)), COST, {}, "5 tiles and a port do not fit on 5 nodes"),
        (FLITS, COST, {"link_weight": math.nan}, "link_weight is nan"),
        (FLITS, COST, {"link_weight": -1.0}, "link_weight is -1"),
        (FLITS, COST, {"link_weight": 1.0}, "none was given"),
        (FLITS, COST, {"link_weight": 1.0, "network": topologies.mesh(2, 2)}, "5 nodes, but the given one has 4"),
    ],
)
def test_what_makes_no_sense_is_refused(flits: Any, cost: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ChipError, match=message):
        Objective(flits, cost, **options)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ([0, 1, 2], r"4 node numbers, the last the port's, not int64 \(3,\)"),
        ([0.0, 1.0, 2.0, 3.0], "not float64"),
        ([0, 1, 2, 5], "nodes are 0 to 4, but the placement has 0 to 5"),
        ([-1, 1, 2, 3], "has -1 to 3"),
        ([0, 2, 2, 3], "node 2 was given 2 times"),
        ([0, 1, 2, 2], "node 2 was given 2 times"),
    ],
)
def test_a_placement_that_is_none_is_refused(node: Any, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        Objective(FLITS, COST).check(np.array(node))


def test_the_given_tables_are_left_alone() -> None:
    flits = np.ones((3, 3))
    Objective(flits, COST)
    assert flits.tolist() == np.ones((3, 3)).tolist()
