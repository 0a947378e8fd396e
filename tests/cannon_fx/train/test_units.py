"""Units: what hangs together, what each costs, and that the prices are all that the network costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import plan
from cannon_fx.channels import pairs_of
from cannon_fx.counting import Counter
from cannon_fx.hw.chip import Chip
from cannon_fx.networks import digits_net
from cannon_fx.networks_cifar import densenet40, resnet20, vgg16_quarter
from cannon_fx.train.unit_prices import unit_prices
from cannon_fx.train.units import Units

SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "digits": (digits_net, (1, 1, 8, 8), "demo-32nm"),
    "vgg": (vgg16_quarter, (1, 3, 32, 32), "siam-32nm"),
    "resnet": (resnet20, (1, 3, 32, 32), "siam-32nm"),
    "densenet": (densenet40, (1, 3, 32, 32), "siam-32nm"),
}


def made(name: str, group_size: int = 4) -> tuple[Units, Counter]:
    """With one-bit flits, so that none is partly filled."""
    make, shape, chip = SMALL[name]
    wide = Chip.load(chip)
    narrow = wide.model_copy(update={"noc": wide.noc.model_copy(update={"flit_bits": 1})})
    found = plan(make(), torch.zeros(shape), chip=narrow, group_size=group_size)
    counter = Counter.of(found)
    return Units.of(found, counter.channels), counter


def test_a_concatenation_and_a_shortcut_are_read_by_several_layers(network: nn.Module, image: Tensor) -> None:
    """TinyNet: inner reads the stem's channels, down and side those of the sum, hidden those of down and side."""
    found = plan(network, image, chip="demo-32nm", group_size=4)
    units = Units.of(found, Counter.of(found).channels)
    assert units.of_group["down"].tolist() == units.of_group["side"].tolist()
    assert len({*units.of_group["inner"].tolist()} & {*units.of_group["down"].tolist()}) == 0
    assert len(set(units.of_group["hidden"].tolist())) == 24  # 4 pixels of a channel each
    every = np.concatenate(list(units.of_group.values()))
    assert sorted(set(every.tolist())) == list(range(units.count))


@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("name", SMALL)
def test_prices_are_all_that_a_network_costs(name: str, group_size: int) -> None:
    """Every flit is in exactly one unit's price."""
    units, counter = made(name, group_size)
    rng = np.random.default_rng(0)
    for share in (1.0, 0.5):
        kept = rng.random(units.count) < share
        pairs = pairs_of(units.plan.layers, units.keep(kept))
        energy = counter.cost(pairs, 1.0).energy_pj
        assert unit_prices(units, counter, pairs, "energy").sum() == pytest.approx(energy, rel=1e-9)


def test_a_unit_without_company_saves_its_price() -> None:
    """In a chain, what cutting one unit saves is its price."""
    units, counter = made("vgg")
    full = np.ones(units.count, np.bool_)
    energy = counter.cost(pairs_of(units.plan.layers, units.keep(full)), 1.0).energy_pj
    price = unit_prices(units, counter, pairs_of(units.plan.layers, units.keep(full)), "energy")
    for unit in range(0, units.count, 7):
        kept = full.copy()
        kept[unit] = False
        left = counter.cost(pairs_of(units.plan.layers, units.keep(kept)), 1.0).energy_pj
        assert energy - left == pytest.approx(price[unit], rel=1e-9)


def test_the_baselines_prices_count_reads_and_links() -> None:
    """Every read walked alone: tiles that read a unit's channels, and the links from their homes."""
    units, counter = made("resnet", 1)
    pairs = pairs_of(units.plan.layers, units.keep(np.ones(units.count, np.bool_)))
    reads, links = np.zeros(units.count), np.zeros(units.count)
    x, y = counter.plan.placed().coordinates
    port = counter.plan.chip.noc.port
    for layer in counter.plan.layers:
        source = counter.plan.inputs[layer.name]
        for channel, j in itertools.product(range(layer.in_channels), range(layer.column_blocks)):
            unit, tile = units.of_group[layer.name][channel], layer.tile_of[channel // layer.row_channels, j]
            reads[unit] += 1
            homes = source.home[source.group == channel]
            elements = source.elements[source.group == channel]
            ways = [
                abs(start[0] - x[tile]) + abs(start[1] - y[tile])
                for start in (port if home == -1 else (x[home], y[home]) for home in homes)
            ]
            links[unit] += np.average(ways, weights=elements)
    np.testing.assert_allclose(unit_prices(units, counter, pairs, "equal"), reads)
    np.testing.assert_allclose(unit_prices(units, counter, pairs, "distance"), links)
