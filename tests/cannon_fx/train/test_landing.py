"""The knapsack against brute force over all masks, and its promises on random budgets."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cannon_fx import InfeasibleError, plan
from cannon_fx.cost import cost, layer_cost, single_costs
from cannon_fx.train.budget import UNIT, Budget, measure
from cannon_fx.train.landing import Pricing, check_feasible, land, price_list


def importance(p, seed: int, power: float = 2.0):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    return {name: rng.random(mask.shape) ** power for name, mask in p.full().items()}


def test_lands_near_the_best_of_all_masks() -> None:
    """12 connections, 4,095 masks: the greedy value is close to the optimum and never above the limit."""
    p = plan(nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 8)), torch.zeros(1, 12), chip="demo-32nm", group_size=3)
    names, shapes = [layer.name for layer in p.layers], [p.full()[layer.name].shape for layer in p.layers]
    sizes = [a * b for a, b in shapes]
    assert sum(sizes) == 14
    masks = []
    for bits in itertools.product([False, True], repeat=sum(sizes)):
        parts = np.split(np.array(bits), [sizes[0]])
        if all(part.any() for part in parts):
            masks.append({n: part.reshape(s) for n, part, s in zip(names, parts, shapes, strict=True)})
    energies = np.array([cost(p, mask).energy_pj for mask in masks])
    shares = []
    for seed in range(5):
        worth = importance(p, seed)
        values = np.array([sum((worth[n] * m[n]).sum() for n in names) for m in masks])
        for divisor in (1.5, 2, 3):
            limit = energies.max() / divisor
            kept = land(p, price_list(p), worth, "energy", limit)
            assert cost(p, kept).energy_pj <= limit
            shares.append(sum((worth[n] * kept[n]).sum() for n in names) / values[energies <= limit].max())
    assert np.mean(shares) > 0.95
    assert min(shares) > 0.8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    metric=st.sampled_from(["energy", "latency", "edp"]),
    share=st.floats(0.3, 1.0),
    pricing=st.sampled_from(get_args(Pricing)),
)
def test_limit_is_met_and_every_layer_lives(seed: int, metric: str, share: float, pricing: Pricing) -> None:
    p = _residual_plan()
    full = cost(p, p.full())
    limit = share * measure(metric, full)
    try:
        check_feasible(p, metric, limit)
    except InfeasibleError:
        return
    kept = land(p, price_list(p, pricing), importance(p, seed), metric, limit)
    found = cost(p, kept)
    assert measure(metric, found) <= limit
    assert all(mask.any() for mask in kept.values())


_PLANS = []


def _residual_plan():  # type: ignore[no-untyped-def]
    if not _PLANS:
        from cannon_fx.networks import digits_net

        _PLANS.append(plan(digits_net(), torch.zeros(1, 1, 8, 8), chip="demo-32nm", group_size=4))
    return _PLANS[0]


@pytest.mark.parametrize("divisor", [1.2, 2, 3, 5, 8])
def test_energy_budget_is_used_up(divisor: float) -> None:
    """Between 97 % and 100 % of what was asked."""
    p = _residual_plan()
    limit = cost(p, p.full()).energy_pj / divisor
    assert 0.97 * limit <= cost(p, land(p, price_list(p), importance(p, 3), "energy", limit)).energy_pj <= limit


def test_nothing_is_cut_without_need() -> None:
    p = _residual_plan()
    kept = land(p, price_list(p), {n: m * 0.0 for n, m in p.full().items()}, "energy", cost(p, p.full()).energy_pj)
    assert all(mask.all() for mask in kept.values()), "not even what is worth nothing"


def test_single_costs_are_those_of_one_connection_alone() -> None:
    p = _residual_plan()
    rng = np.random.default_rng(0)
    for layer in p.layers:
        energy, latency = (single_costs(p, layer, what) for what in ("energy_pj", "latency_cycles"))
        for _ in range(10):
            only = np.zeros((layer.column_blocks, layer.groups), np.bool_)
            j, g = rng.integers(layer.column_blocks), rng.integers(layer.groups)
            only[j, g] = True
            alone = layer_cost(p, layer, only)
            assert (alone.energy_pj, alone.latency_cycles) == pytest.approx((energy[j, g], latency[j, g]))


@pytest.mark.parametrize("metric", ["energy", "latency"])
@pytest.mark.parametrize("chip", ["demo-32nm", "siam-32nm"])
def test_infeasible_budget_names_the_least_value(metric: str, chip: str) -> None:
    """Against every choice of one connection per layer; more connections never cost less."""
    network = nn.Sequential(nn.Linear(9, 20), nn.Linear(20, 20), nn.Linear(20, 9))
    p = plan(network, torch.zeros(1, 9), chip=chip, group_size=3)
    choices = []
    for layer in p.layers:
        masks = np.eye(layer.column_blocks * layer.groups, dtype=bool)
        choices.append([mask.reshape(layer.column_blocks, layer.groups) for mask in masks])
    least = np.inf
    for masks in itertools.product(*choices):
        total = cost(p, {layer.name: mask for layer, mask in zip(p.layers, masks, strict=True)})
        least = min(least, measure(metric, total))
    with pytest.raises(InfeasibleError, match=f"{least:,.0f} {UNIT[metric]}"):
        check_feasible(p, metric, least * 0.99)
    limit = least * (1 + 1e-12)
    check_feasible(p, metric, limit)
    kept = cost(p, land(p, price_list(p), importance(p, 0), metric, limit))
    assert measure(metric, kept) <= limit


@pytest.mark.parametrize(
    "text", ["", "energy", "energy/0", "energy/-3", "power/3", "energy/nan", "energy/1e999", "energy/0.5", "energy/3x"]
)
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(InfeasibleError, match="budget"):
        Budget.parse(text)


def test_budgets_that_are_some(network: nn.Module, image: Tensor) -> None:
    p = plan(network, image, chip="demo-32nm")
    full = cost(p, p.full())
    assert Budget.parse("energy/3").limit(full) == pytest.approx(full.energy_pj / 3)
    assert Budget.parse("latency / 2.5").limit(full) == pytest.approx(full.latency_cycles / 2.5)
    assert Budget.parse("edp/4").limit(full) == pytest.approx(full.energy_pj * full.latency_cycles / 4)
    assert Budget.parse("energy=1.5e3").limit(full) == 1500


def test_distances_are_those_of_single_elements(network: nn.Module, image: Tensor) -> None:
    """Every element walked alone: links between its home and the tile, on average over its group."""
    p = plan(network, image, chip="demo-32nm", group_size=2)
    x, y = p.placed().coordinates
    for layer in p.layers:
        found, source = price_list(p, "distance")[layer.name], p.inputs[layer.name]
        assert not found.sum_pj.any()
        for g, j in itertools.product(range(layer.groups), range(layer.column_blocks)):
            tile = layer.tile_of[layer.row_block_of[g], j]
            links = []
            for k in np.flatnonzero(source.group == g):
                home = source.home[k]
                start = p.chip.noc.port if home == -1 else (x[home], y[home])
                links += [abs(start[0] - x[tile]) + abs(start[1] - y[tile])] * int(source.elements[k])
            assert found.input_pj[j, g] == pytest.approx(np.mean(links))
