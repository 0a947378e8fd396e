"""The optimisers against brute force over all placements, and what holds for each of them."""

from __future__ import annotations

from itertools import permutations
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw import topologies
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.network import Network
from cannon_fx.hw.objective import Objective
from cannon_fx.hw.optimise import Method, optimise

METHODS = get_args(Method)


def hops(network: Network) -> np.ndarray:
    nodes = np.arange(network.nodes)
    return network.hops(nodes[:, None], nodes) + 1.5


def traffic(tiles: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 100, (tiles + 1, tiles + 1)) * (rng.random((tiles + 1, tiles + 1)) < 0.4)


@pytest.mark.parametrize(
    ("network", "tiles"),
    [
        (topologies.mesh(3, 2), 5),  # one place is free
        (topologies.mesh(2, 3), 6),
        (topologies.torus(7, 1), 7),
        (topologies.mesh(7, 1), 7),
        (topologies.cmesh(2, 1, 2, 2), 7),
        (topologies.chiplets(2, 1, 2, 2, package_interval=3), 6),
    ],
)
@pytest.mark.parametrize("link_weight", [0.0, 3.0])
def test_annealing_finds_the_optimum_and_nothing_goes_below(network: Network, tiles: int, link_weight: float) -> None:
    network = network.with_node(1)
    flits, cost, port = traffic(tiles, tiles), hops(network), network.nodes - 1
    objective = Objective(flits, cost, network, link_weight)
    # Energies of all placements at once: that a link's load counts too is checked on those alone that can be better.
    every = np.array([(*nodes, port) for nodes in permutations(range(port), tiles)])
    source, target = np.nonzero(objective.flits)
    energies = objective.cost[every[:, source], every[:, target]] @ objective.flits[source, target]
    start = np.append(np.arange(tiles), port)
    found = {m: optimise(flits, cost, start, m, network=network, link_weight=link_weight) for m in METHODS}
    least = min(objective(node) for node in every[energies <= found["annealed"].cost_after])
    assert found["annealed"].cost_after == pytest.approx(least, rel=1e-12)
    assert min(report.cost_after for report in found.values()) >= least * (1 - 1e-12)


@settings(max_examples=25, deadline=None)
@given(method=st.sampled_from(METHODS), tiles=st.integers(0, 9), seed=st.integers(0, 1000), empty=st.booleans())
def test_no_method_is_worse_than_the_start(method: Method, tiles: int, seed: int, empty: bool) -> None:
    network = topologies.mesh(3, 3).with_node(seed % 9)
    rng = np.random.default_rng(seed)
    start = np.append(rng.permutation(9)[:tiles], 9)
    flits = traffic(tiles, seed) * (not empty)
    found = optimise(flits, hops(network), start, method, seed=seed, sweeps=2)
    again = optimise(flits, hops(network), start, method, seed=seed, sweeps=2)
    assert found.node.tolist() == again.node.tolist()
    assert found.cost_after <= found.cost_before
    objective = Objective(flits, hops(network))
    assert (found.cost_before, found.cost_after) == (objective(start), objective(found.node))
    assert len(np.unique(found.node)) == tiles + 1
    assert found.node[-1] == start[-1]


def test_a_weight_on_the_busiest_link_lowers_its_load() -> None:
    network = topologies.mesh(4, 4).with_node(0)
    flits, start = traffic(16, 3), np.arange(17)
    objective = Objective(flits, hops(network), network, 1.0)
    energy_alone, both = (
        optimise(flits, hops(network), start, network=network, link_weight=weight).node for weight in (0.0, 50.0)
    )
    assert objective.link_cycles(both).max() < objective.link_cycles(energy_alone).max()
    assert objective.energy(both) >= objective.energy(energy_alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "unknown placement method 'magic': choose one of spectral, faq, annealed"),
        ({"seed": -1}, "seed is -1"),
        ({"restarts": 0}, "restarts is 0: give at least 1"),
        ({"sweeps": -1}, "sweeps is -1"),
        ({"start": np.array([0, 0, 9])}, "node 0 was given 2 times"),
        ({"flits": np.full((3, 3), np.nan)}, r"flits\[0, 0\] is nan"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"flits": np.ones((3, 3)), "cost": np.ones((10, 10)), "start": np.array([0, 1, 9])}
    with pytest.raises(ChipError, match=message):
        optimise(**good | change)
