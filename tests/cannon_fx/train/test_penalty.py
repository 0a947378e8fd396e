"""The regulariser against its formula, the proximal step against the minimisation that defines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from cannon_fx import apply_cannon
from cannon_fx.cost import prices
from cannon_fx.train.landing import price_list
from cannon_fx.train.penalty import Penalty, effective_rate


def blocks(weight: Tensor, out_block: int, group_size: int) -> dict[tuple[int, int], Tensor]:
    """The weight's connections, cut out one by one."""
    return {
        (n // out_block, c // group_size): weight[n : n + out_block, c : c + group_size]
        for n in range(0, weight.shape[0], out_block)
        for c in range(0, weight.shape[1], group_size)
    }


@pytest.fixture
def penalty(network: nn.Module, image: Tensor) -> Penalty:
    plan = apply_cannon(network, image, chip="demo-32nm", group_size=3)
    made = Penalty(plan, plan.modules, price_list(plan))
    made.strength = 0.7
    return made


def test_value_is_the_formula(penalty: Penalty) -> None:
    relative = {
        layer.name: prices(penalty.plan, layer).per_connection(layer, penalty.plan.full()[layer.name])
        for layer in penalty.plan.layers
    }
    mean = np.concatenate([p.ravel() for p in relative.values()]).mean()
    expected = 0.0
    for layer in penalty.plan.layers:
        weight = penalty.modules[layer.name].weight.detach().double()
        scale = weight.square().mean().sqrt()
        for (j, g), block in blocks(weight, layer.out_block, layer.group_size).items():
            expected += float(relative[layer.name][j, g] / mean * scale * block.numel() ** 0.5 * block.norm())
    assert float(penalty.value()) == pytest.approx(0.7 * expected, rel=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_proximal_step_minimises_its_objective(penalty: Penalty, momentum: float) -> None:
    """prox(v) = argmin_x |x - v|^2 / 2 + rate * strength * factor * |x|: along v, by a scalar minimiser."""
    before = {name: module.weight.detach().clone() for name, module in penalty.modules.items()}
    optimizer = torch.optim.SGD([m.weight for m in penalty.modules.values()], lr=0.3, momentum=momentum)
    penalty.strength = 0.5 if momentum == 0 else 0.05
    penalty.shrink_(optimizer)
    seen_zero = False
    for layer in penalty.plan.layers:
        after = blocks(penalty.modules[layer.name].weight.detach(), layer.out_block, layer.group_size)
        for (j, g), v in blocks(before[layer.name], layer.out_block, layer.group_size).items():
            norm, factor = float(v.norm()), float(penalty.factors[layer.name][j, g])
            weight = 0.3 / (1 - momentum) * penalty.strength * factor
            best = minimize_scalar(
                lambda t, n=norm, w=weight: (t * n - n) ** 2 / 2 + w * abs(t) * n,
                bounds=(0, 1),
                method="bounded",
                options={"xatol": 1e-9},
            ).x
            assert torch.allclose(after[j, g], best * v, atol=1e-5 * norm)
            seen_zero |= float(after[j, g].abs().max()) == 0
    assert seen_zero, "the step should reach exact zeros at this strength"


def test_cost_blind_prices_are_equal(network: nn.Module, image: Tensor) -> None:
    plan = apply_cannon(network, image, chip="demo-32nm", group_size=4)
    penalty = Penalty(plan, plan.modules, price_list(plan, "equal"))
    for layer in plan.layers:
        relative = penalty.factors[layer.name].numpy() / (
            penalty.scale[layer.name] * np.sqrt(layer.weights_of_connection)
        )
        np.testing.assert_allclose(relative, 1, rtol=1e-6)


def test_effective_rate_is_what_a_constant_gradient_reaches() -> None:
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    for _ in range(500):
        last = weight.item()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert effective_rate(optimizer.param_groups[0]) == pytest.approx(last - weight.item())
