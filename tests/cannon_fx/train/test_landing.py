"""The knapsack against brute force over all choices, and its promises on random budgets."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from cannon_fx import InfeasibleError, plan
from cannon_fx.channels import pairs_of
from cannon_fx.cost import cost
from cannon_fx.counting import Counter
from cannon_fx.networks import digits_net
from cannon_fx.plans import Plan
from cannon_fx.train.budget import Budget, Metric, measure
from cannon_fx.train.landing import check_feasible, fill, foreseen, land, minimal, order_of
from cannon_fx.train.unit_prices import Pricing, unit_prices
from cannon_fx.train.units import Units

Mask = NDArray[np.bool_]


class Case:
    """A plan with its units, and what some of them cost where they are, or mapped anew."""

    def __init__(self, found: Plan, metric: Metric = "energy") -> None:
        self.plan, self.metric, self.counter = found, metric, Counter.of(found)
        self.units = Units.of(found, self.counter.channels)
        self.all = np.ones(self.units.count, np.bool_)

    def pairs(self, kept: Mask) -> dict[str, Mask]:
        return pairs_of(self.plan.layers, self.units.keep(kept))

    def here(self, kept: Mask) -> float:
        return measure(self.metric, self.counter.cost(self.pairs(kept), 1.0))

    def anew(self, kept: Mask) -> float:
        return measure(self.metric, self.counter.compact(self.pairs(kept)).cost(self.pairs(kept), 1.0))

    def price(self, pricing: Pricing = "energy") -> NDArray[np.float64]:
        return unit_prices(self.units, self.counter, self.pairs(self.all), pricing)

    def alive(self, kept: Mask) -> bool:
        return all(kept[self.units.of_group[layer.name]].any() for layer in self.plan.layers)


def chain() -> Plan:
    return plan(nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 24)), torch.zeros(1, 12), chip="demo-32nm", group_size=3)


_CASES: dict[str, Case] = {}


def digits(metric: Metric = "energy") -> Case:
    if metric not in _CASES:
        _CASES[metric] = Case(plan(digits_net(), torch.zeros(1, 1, 8, 8), chip="demo-32nm", group_size=4), metric)
    return _CASES[metric]


def worth(case: Case, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(case.units.count) ** 2


def test_lands_near_the_best_of_all_choices() -> None:
    """10 units, 1,023 choices: the greedy value is close to the optimum and never above the limit."""
    case = Case(chain())
    choices = [np.array(bits) for bits in itertools.product([False, True], repeat=case.units.count)]
    choices = [kept for kept in choices if case.alive(kept)]
    energies = np.array([case.here(kept) for kept in choices])
    shares = []
    for seed in range(5):
        importance = worth(case, seed)
        values = np.array([importance[kept].sum() for kept in choices])
        order = order_of(importance, case.price())
        for divisor in (1.2, 1.4, 1.6):
            limit = energies.max() / divisor
            kept = land(case.units, order, case.price(), case.all, case.here, limit)
            assert kept is not None
            kept = fill(case.units, order, case.price(), kept, case.all, case.here, limit)
            assert case.here(kept) <= limit
            shares.append(importance[kept].sum() / values[energies <= limit].max())
    assert len(choices) > 100
    assert np.mean(shares) > 0.95
    assert min(shares) > 0.8


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    metric=st.sampled_from(["energy", "latency", "edp"]),
    share=st.floats(0.05, 1.0),
    pricing=st.sampled_from(get_args(Pricing)),
)
def test_limit_is_met_and_every_layer_lives(seed: int, metric: Metric, share: float, pricing: Pricing) -> None:
    case = digits(metric)
    limit = share * case.here(case.all)
    price = case.price(pricing)
    kept = land(case.units, order_of(worth(case, seed), price), price, case.all, case.here, limit)
    if kept is not None:
        assert case.here(kept) <= limit
        assert case.alive(kept)


@pytest.mark.parametrize("divisor", [1.2, 2, 3, 5, 8, 20])
def test_energy_budget_is_used_up(divisor: float) -> None:
    """Between 97 % and 100 % of what was asked, mapped anew."""
    case = digits()
    limit, order = case.here(case.all) / divisor, order_of(worth(case, 3), case.price())
    kept = land(case.units, order, case.price(), case.all, case.anew, limit)
    assert kept is not None
    assert 0.97 * limit <= case.anew(fill(case.units, order, case.price(), kept, case.all, case.anew, limit)) <= limit


def test_nothing_is_cut_without_need() -> None:
    case = digits()
    nothing = np.zeros(case.units.count)
    kept = land(case.units, nothing, case.price(), case.all, case.here, case.here(case.all))
    assert kept is not None
    assert kept.all(), "not even what is worth nothing"


def test_what_was_cut_stays_cut() -> None:
    case = digits()
    kept = np.random.default_rng(0).random(case.units.count) < 0.6
    order = order_of(worth(case, 0), case.price())
    again = land(case.units, order, case.price(), kept, case.here, case.here(kept) / 2)
    assert again is not None
    assert not (again & ~kept).any()


def test_what_costs_nothing_comes_first() -> None:
    assert order_of(np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 1.0])).tolist() == [np.inf, 0.5, 3.0]


def test_foreseen_are_those_behind_the_share() -> None:
    order, price = np.array([4.0, 3.0, 2.0, 1.0, 9.0]), np.array([1.0, 1.0, 1.0, 1.0, 5.0])
    kept = np.array([True, True, True, True, False])
    assert foreseen(order, price, kept, 0.5).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("metric", ["energy", "latency"])
@pytest.mark.parametrize("chip", ["demo-32nm", "siam-32nm"])
def test_infeasible_budget_names_the_least_value(metric: Metric, chip: str) -> None:
    """Every choice that reads one group per layer: none is much cheaper than the one that is named."""
    network = nn.Sequential(nn.Linear(9, 20), nn.Linear(20, 20), nn.Linear(20, 9))
    case = Case(plan(network, torch.zeros(1, 9), chip=chip, group_size=3), metric)
    read = [case.units.of_group[layer.name] for layer in case.plan.layers]
    values = []
    for chosen in itertools.product(*read):
        kept = np.zeros_like(case.all)
        kept[list(chosen)] = True
        values.append(case.anew(kept))
    named = case.anew(minimal(case.units, case.counter, case.all))
    assert min(values) <= named <= 1.2 * min(values)
    with pytest.raises(InfeasibleError, match=f"still needs {named:,.0f} "):
        check_feasible(case.plan, metric, named * 0.99)
    check_feasible(case.plan, metric, named)


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
