"""Annealing: every move's change equals a full recomputation, and nothing is left that a move could improve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw import topologies
from cannon_fx.hw.anneal import REFUSED, anneal, move, problem, state
from cannon_fx.hw.objective import Objective

NETWORKS = [
    topologies.mesh(3, 4).with_node(5),
    topologies.torus(4, 3).with_node(0),
    topologies.cmesh(2, 2, 2, 2).with_node(1),
    topologies.chiplets(2, 1, 2, 3, package_interval=4).with_node(2),
    topologies.tree(9, 3).with_node(0),
]


def case(network: int, tiles: int, seed: int, link_weight: float) -> tuple[Objective, np.ndarray]:
    """An objective with costs that depend on the direction, and a random placement."""
    rng, chosen = np.random.default_rng(seed), NETWORKS[network]
    tiles = min(tiles, chosen.nodes - 1)
    flits = rng.integers(0, 50, (tiles + 1, tiles + 1)) * (rng.random((tiles + 1, tiles + 1)) < 0.4)
    cost = rng.random((chosen.nodes, chosen.nodes))
    start = np.append(rng.permutation(chosen.nodes - 1)[:tiles], chosen.nodes - 1)
    return Objective(flits, cost, chosen, link_weight), start


@settings(max_examples=80, deadline=None)
@given(
    network=st.integers(0, len(NETWORKS) - 1),
    tiles=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    link_weight=st.sampled_from([0.0, 0.3, 20.0]),
    limit=st.sampled_from([np.inf, 0.0, -5.0]),
)
def test_a_moves_change_equals_a_full_recomputation(
    network: int, tiles: int, seed: int, link_weight: float, limit: float
) -> None:
    objective, start = case(network, tiles, seed, link_weight)
    given, now = problem(objective), state(objective, start)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        tile, place = rng.integers(objective.tiles), rng.integers(len(objective.cost) - 1)
        if place == now.node[tile]:
            continue
        before, value = now.node.copy(), objective(now.node)
        swapped = before.copy()
        swapped[before == place] = before[tile]
        swapped[tile] = place
        change = move(given, now, tile, place, limit)
        exact = objective(swapped) - value
        if change == REFUSED:
            assert exact > limit - 1e-9
            assert now.node.tolist() == before.tolist()
        else:
            assert exact == pytest.approx(change, abs=1e-9 * (1 + value))
            assert change <= limit
            assert now.node.tolist() == swapped.tolist()
        assert (np.flatnonzero(now.tile_at >= 0) == np.sort(now.node)).all()
        assert (now.tile_at[now.node] == np.arange(objective.tiles + 1)).all()
        if link_weight:
            np.testing.assert_allclose(now.load, objective.link_cycles(now.node), atol=1e-9)
            assert now.load[tuple(now.busiest)] == now.load.max()


@pytest.mark.parametrize("link_weight", [0.0, 2.0])
@pytest.mark.parametrize("network", range(len(NETWORKS)))
def test_no_single_move_improves_the_result(network: int, link_weight: float) -> None:
    objective, start = case(network, 7, 11, link_weight)
    found = anneal(objective, start, seed=1, restarts=1, sweeps=20)
    value = objective(found)
    for tile in range(objective.tiles):
        for place in range(len(objective.cost) - 1):
            moved = found.copy()
            moved[found == place] = found[tile]
            moved[tile] = place
            assert objective(moved) >= value * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(
    network=st.integers(0, len(NETWORKS) - 1),
    tiles=st.integers(0, 12),
    seed=st.integers(0, 1000),
    link_weight=st.sampled_from([0.0, 1.0]),
)
def test_every_tile_keeps_a_node_of_its_own_and_the_port_stays(
    network: int, tiles: int, seed: int, link_weight: float
) -> None:
    objective, start = case(network, tiles, seed, link_weight)
    found = anneal(objective, start, seed=seed, restarts=2, sweeps=3)
    assert len(np.unique(found)) == objective.tiles + 1
    assert found[-1] == start[-1]
    assert 0 <= found.min() <= found.max() < len(objective.cost)


def test_the_seed_decides_the_result() -> None:
    rng = np.random.default_rng(2)
    network = topologies.mesh(8, 8).with_node(0)
    ends = np.arange(network.nodes)[:, None], np.arange(network.nodes)
    flits = rng.integers(0, 50, (65, 65)) * (rng.random((65, 65)) < 0.1)
    objective = Objective(flits, network.hops(*ends))
    one, again, other = (anneal(objective, np.arange(65), seed, 1, 20) for seed in (5, 5, 6))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()
