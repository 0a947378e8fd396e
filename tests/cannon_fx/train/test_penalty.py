"""The regulariser against its formula, the proximal step against the minimisation that defines it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import apply_cannon
from cannon_fx.counting import Counter
from cannon_fx.train.penalty import FADING, Penalty, effective_rate
from cannon_fx.train.units import Units


@pytest.fixture
def penalty(network: nn.Module, image: Tensor) -> Penalty:
    plan = apply_cannon(network, image, chip="demo-32nm", group_size=3)
    units = Units.of(plan, Counter.of(plan).channels)
    made = Penalty(units, plan.modules)
    made.fade(np.random.default_rng(0).random(units.count) < 0.4, 0.7)
    return made


def fading_weights(penalty: Penalty) -> dict[tuple[str, int], bool]:
    """For every input channel of every layer, whether it fades, worked out one by one."""
    found = {}
    for layer in penalty.units.plan.layers:
        for channel in range(layer.in_channels):
            unit = penalty.units.of_group[layer.name][channel // layer.group_size]
            found[layer.name, channel] = bool(penalty.fading[unit])
    return found


def test_value_is_the_formula(penalty: Penalty) -> None:
    squares = 0.0
    for (name, channel), fades in fading_weights(penalty).items():
        squares += fades * float(penalty.modules[name].weight.detach().double()[:, channel].square().sum())
    assert squares > 0
    assert float(penalty.value()) == pytest.approx(0.7 / 2 * squares, rel=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_proximal_step_minimises_its_objective(penalty: Penalty, momentum: float) -> None:
    """prox(v) = argmin_x |x - v|^2 / 2 + rate x strength / 2 |x|^2, whose gradient is zero there; the others stay."""
    before = {name: module.weight.detach().clone().double() for name, module in penalty.modules.items()}
    optimizer = torch.optim.SGD([m.weight for m in penalty.modules.values()], lr=0.3, momentum=momentum)
    penalty.shrink_(optimizer)
    rate = 0.3 / (1 - momentum)
    for (name, channel), fades in fading_weights(penalty).items():
        x, v = penalty.modules[name].weight.detach()[:, channel].double(), before[name][:, channel]
        if fades:
            assert float((x - v + rate * 0.7 * x).abs().max()) < 1e-6
            assert not torch.equal(x, v)
        else:
            assert torch.equal(x, v)


def test_a_horizon_takes_nearly_everything_away(penalty: Penalty) -> None:
    optimizer = torch.optim.SGD([m.weight for m in penalty.modules.values()], lr=0.02, momentum=0.9)
    before = float(penalty.value()) / penalty.strength
    penalty.fade(penalty.fading, penalty.strength_for(optimizer, 100))
    for _ in range(100):
        penalty.shrink_(optimizer)
    assert float(penalty.value()) / penalty.strength == pytest.approx(before * math.exp(-2 * FADING), rel=0.1)


def test_effective_rate_is_what_a_constant_gradient_reaches() -> None:
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    for _ in range(500):
        last = weight.item()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert effective_rate(optimizer.param_groups[0]) == pytest.approx(last - weight.item())
