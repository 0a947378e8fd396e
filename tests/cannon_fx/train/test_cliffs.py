"""Cliffs: against networks mapped anew with one channel more and less, and what goes together, against all choices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from cannon_fx import plan
from cannon_fx.channels import Pairs, pairs_of
from cannon_fx.counting import Counter
from cannon_fx.networks import digits_net
from cannon_fx.networks_cifar import densenet40, resnet18, vgg16_quarter
from cannon_fx.train.cliffs import before_cliffs, cliffs, worth
from cannon_fx.train.unit_prices import unit_prices
from cannon_fx.train.units import Units

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "digits": (digits_net, (1, 1, 8, 8), "demo-32nm"),
    "vgg": (vgg16_quarter, (1, 3, 32, 32), "siam-32nm"),
    "densenet": (densenet40, (1, 3, 32, 32), "siam-32nm"),
    "resnet": (resnet18, (1, 3, 32, 32), "siam-32nm"),
}


class Case:
    """A network with some units cut, mapped for what is left."""

    def __init__(self, name: str, group_size: int, share: float) -> None:
        make, shape, chip = NETWORKS[name]
        found = plan(make(), torch.zeros(shape), chip=chip, group_size=group_size)
        self.whole = Counter.of(found)
        self.units = Units.of(found, self.whole.channels)
        self.kept = np.random.default_rng(0).random(self.units.count) < share
        self.counter = self.whole.compact(self.pairs())

    def pairs(self, *cut: int) -> Pairs:
        kept = self.kept.copy()
        kept[list(cut)] = False
        return pairs_of(self.units.plan.layers, self.units.keep(kept))

    def tiles(self, *cut: int) -> int:
        """Of the network mapped anew without these units, too."""
        return sum(layer.tiles for layer in self.whole.compact(self.pairs(*cut)).plan.layers)


@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_go_with_the_last_channel_and_not_before(name: str, share: float, group_size: int) -> None:
    case = Case(name, group_size, share)
    found = list(cliffs(case.units, case.counter, case.pairs()))
    assert len(found) >= 2
    rng = np.random.default_rng(1)
    for cliff in (found[k] for k in rng.permutation(len(found))[:4]):
        assert cliff.saved_pj > 0
        unit, channels = np.unique(cliff.unit, return_counts=True)
        chosen = rng.permutation(len(unit))
        enough = int(np.searchsorted(np.cumsum(channels[chosen]), cliff.channels)) + 1
        for count in (enough - 1, enough):
            kept = case.kept.copy()
            kept[unit[chosen[:count]]] = False
            assert cliff.passed(kept) == (count == enough)
        assert case.tiles(*unit[chosen[:enough]]) < case.tiles(*unit[chosen[: enough - 1]])


def test_the_saving_is_that_of_partial_sums_that_end() -> None:
    """Of two row blocks, one sends partial sums; without the second, nobody does."""
    case = Case("vgg", 1, 1.0)
    cliff = next(cliffs(case.units, case.counter, case.pairs()))
    layer = next(layer for layer in case.counter.plan.layers if layer.row_blocks == 2)
    before = case.counter.cost(case.pairs(), 1.0).of(kind="partial_sum", node=layer.node)
    assert cliff.saved_pj == pytest.approx(before.energy_pj, rel=1e-12)
    left = case.pairs(*cliff.unit[: cliff.channels])
    assert case.whole.compact(left).cost(left, 1.0).of(kind="partial_sum", node=layer.node).energy_pj == 0


@pytest.mark.parametrize("seed", range(20))
def test_what_goes_together_is_the_best_choice(seed: int) -> None:
    """All subsets of a bundle, at any price of energy: what is left is worth most, the saving lost if any is."""
    rng = np.random.default_rng(seed)
    importance, price, saved = rng.random(6), rng.random(6), 3 * rng.random()
    first = np.argsort(importance / price)
    importance, price = importance[first], price[first]
    order = np.minimum(importance / price, worth(importance, price, saved))
    for at in rng.random(20) * 2 * order.max():

        def value(kept: tuple[bool, ...], at: float = at) -> float:
            return float((importance - at * price)[list(kept)].sum()) - at * saved * any(kept)

        best = max(itertools.product([False, True], repeat=6), key=value)
        assert list(best) == (order > at).tolist()


def test_units_far_from_any_cliff_keep_their_order() -> None:
    """Of a layer of two row blocks with 64 channels, the 8 least go earlier, and no others."""
    case = Case("vgg", 1, 1.0)
    importance = np.random.default_rng(2).random(case.units.count)
    price = unit_prices(case.units, case.counter, case.pairs(), "energy")
    order = importance / price
    lowered = before_cliffs(order, importance, price, cliffs(case.units, case.counter, case.pairs()))
    assert (lowered <= order).all()
    read = case.units.of_group["17"]
    changed = read[lowered[read] < order[read]]
    assert 0 < len(changed) <= 8
    assert order[changed].max() <= np.sort(order[read])[7]
    assert (lowered[changed] == lowered[changed][0]).all()
    assert (lowered[case.units.of_group["3"]] == order[case.units.of_group["3"]]).all()
