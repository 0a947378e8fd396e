"""Bundles against the concave hull found by trying every prefix, and the order of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cannon_fx import plan
from cannon_fx.cost import Prices, prices
from cannon_fx.networks import digits_net
from cannon_fx.plans import Plan
from cannon_fx.train.bundles import Bundles, bundles_of
from cannon_fx.train.landing import price_list


@pytest.fixture(scope="module")
def mapped() -> Plan:
    return plan(digits_net(), torch.zeros(1, 1, 8, 8), chip="demo-32nm", group_size=4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), zeros=st.sampled_from([0.0, 0.3, 1.0]))
def test_bundles_are_those_found_by_trying_every_prefix(mapped: Plan, seed: int, zeros: float) -> None:
    """Also where connections cost nothing, are worth nothing, or both."""
    rng = np.random.default_rng(seed)
    for layer in mapped.layers:
        shape = (layer.column_blocks, layer.groups)
        worth = rng.random(shape) * (rng.random(shape) >= zeros)
        price = Prices(rng.random(shape) * (rng.random(shape) >= zeros), prices(mapped, layer).sum_pj)
        place, ratio, begins = bundles_of(layer, price, worth)
        assert sorted(place) == list(range(worth.size))
        at = 0
        for i in range(layer.row_blocks):
            groups = np.flatnonzero(layer.row_block_of == i)
            for j in range(layer.column_blocks):
                own, size = place[at : at + len(groups)], len(groups)
                assert {(p // layer.groups, p % layer.groups) for p in own} == {(j, g) for g in groups}
                value, paid = worth.flat[own], price.input_pj.flat[own]
                follows = begins[at : at + size]
                taken = size if not follows[1:].any() else 1 + int(np.argmax(follows[1:]))
                assert follows[0]
                assert follows[taken:].all()
                best = max(
                    np.inf if spent == 0 else gained / spent
                    for gained, spent in zip(value.cumsum(), price.sum_pj[j, i] + paid.cumsum(), strict=True)
                )
                assert ratio[at : at + taken] == pytest.approx(best)
                alone = [np.inf if p == 0 else v / p for v, p in zip(value[taken:], paid[taken:], strict=True)]
                assert ratio[at + taken : at + size] == pytest.approx(alone)
                at += size


def test_first_bundle_pays_for_the_partial_sums() -> None:
    """One tile, three connections of price 1 and a set-up cost of 10: only together are they worth it."""
    layer = plan(nn.Sequential(nn.Linear(6, 4)), torch.zeros(1, 6), chip="demo-32nm", group_size=2).layers[0]
    place, ratio, begins = bundles_of(
        layer, Prices(np.ones((1, 3)), np.full((1, 1), 10.0)), np.array([[4.0, 0.1, 5.0]])
    )
    assert place.tolist() == [2, 0, 1]
    assert ratio == pytest.approx([9 / 12, 9 / 12, 0.1])
    assert begins.tolist() == [True, False, True]


def test_the_best_of_every_layer_come_first_and_then_the_ratio_falls(mapped: Plan) -> None:
    rng = np.random.default_rng(0)
    worth = {name: rng.random(mask.shape) for name, mask in mapped.full().items()}
    found, priced = Bundles.of(mapped, price_list(mapped), worth), price_list(mapped)
    ratio = {}
    for layer in mapped.layers:
        place, ratios, _ = bundles_of(layer, priced[layer.name], worth[layer.name])
        ratio[layer.name] = dict(zip(place.tolist(), ratios, strict=True))
    listed = [found.bundle(number) for number in range(len(found))]
    assert {layer.name for layer, _ in listed[: len(mapped.layers)]} == set(mapped.full())
    for layer, connections in listed[: len(mapped.layers)]:
        assert ratio[layer.name][int(connections[0])] == max(ratio[layer.name].values())
    falling = [ratio[layer.name][int(connections[0])] for layer, connections in listed[len(mapped.layers) :]]
    assert falling == sorted(falling, reverse=True)
    for count in (0, 5, len(found)):
        keep = {name: np.zeros_like(mask) for name, mask in mapped.full().items()}
        for layer, connections in listed[:count]:
            keep[layer.name].flat[connections] = True
        assert all(np.array_equal(mask, keep[name]) for name, mask in found.first(count).items())
