"""The spectral order and FAQ on cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from cannon_fx.hw import topologies
from cannon_fx.hw.assignment import faq, spectral
from cannon_fx.hw.objective import Objective


def line(tiles: int) -> np.ndarray:
    """Hops on a row of places, the last one the port's, beside place 0."""
    x = np.append(np.arange(tiles), 0)
    return np.abs(x[:, None] - x)


def chain(order: np.ndarray) -> np.ndarray:
    """Each tile of `order` sends to the next; the port feeds the first."""
    flits = np.zeros((len(order) + 1, len(order) + 1))
    flits[order[:-1], order[1:]] = 7
    flits[-1, order[0]] = 1
    return flits


@pytest.mark.parametrize("seed", range(5))
def test_spectral_straightens_a_shuffled_chain(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(30)
    found = spectral(Objective(chain(order), line(30)), np.arange(31))
    assert found[order].tolist() == list(range(30)), "from the end where the port is"
    assert found[-1] == 30


def test_spectral_keeps_tiles_without_traffic_and_two_separate_chains_apart() -> None:
    order = np.arange(20)
    flits = chain(order)
    flits[9, 10] = 0
    found = spectral(Objective(flits, line(20)), np.arange(21))
    assert np.sort(found).tolist() == list(range(21))
    halves = {tuple(np.sort(found[:10])), tuple(np.sort(found[10:20]))}
    assert halves == {tuple(range(10)), tuple(range(10, 20))}
    assert spectral(Objective(np.zeros((21, 21)), line(20)), np.arange(21)).tolist() == list(range(21))


@pytest.mark.parametrize("port", [0, 4, 8])
def test_faq_is_scipys_and_the_port_stays_where_it_is(port: int) -> None:
    network = topologies.mesh(3, 3)
    ends = np.arange(9)[:, None], np.arange(9)
    rng = np.random.default_rng(port)
    flits = rng.integers(0, 20, (6, 6))
    objective = Objective(flits, network.hops(*ends))
    start = np.append(np.delete(np.arange(9), port)[:5], port)
    found = faq(objective, start, seed=0, restarts=3)
    assert found[-1] == port
    assert len(np.unique(found)) == 6
    assert objective(found) <= min(objective(faq(objective, start, seed=0, restarts=k)) for k in (1, 2))
