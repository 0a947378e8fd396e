"""Gradual magnitude pruning: what goes, when, and that it lands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cannon_fx import plan
from cannon_fx.counting import Counter
from cannon_fx.train.baselines.magnitude import MagnitudeControl, Unit
from cannon_fx.train.budget import Budget

CHIP = {"chip": "demo-32nm", "group_size": 2}
Batch = list[tuple[Tensor, Tensor]]


def started(network: nn.Module, image: Tensor, unit: Unit, steps: int) -> MagnitudeControl:
    return MagnitudeControl(plan(network, image, **CHIP), network, Budget.parse("energy/2"), steps, unit)


@pytest.mark.parametrize("unit", ["weight", "connection"])
def test_the_weakest_go_and_the_budget_is_met(network: nn.Module, image: Tensor, unit: Unit) -> None:
    """In one step, without training: the units left are the strongest, and one more would exceed the budget."""
    found = plan(network, image, **CHIP)
    before = {layer.name: network.get_submodule(layer.name).weight.detach().clone() for layer in found.layers}
    control = started(network, image, unit, 1)
    control.step_(torch.optim.SGD(network.parameters(), lr=0.1))
    assert control.landed
    gone, left, every = [], [], {}
    for layer in found.layers:
        old, new = before[layer.name], network.get_submodule(layer.name).weight
        if unit == "weight":
            strength, kept = old.abs().flatten(), (new != 0).flatten()
            every[layer.name] = old.abs()
        else:
            i = torch.arange(layer.in_channels) // layer.group_size
            j = torch.arange(layer.out_channels) // layer.out_block
            blocks = [(b, a) for b in range(layer.column_blocks) for a in range(layer.groups)]
            squares = old.square().flatten(2).mean(2) if layer.taps > 1 else old.square()
            strength = torch.stack([squares[j == b][:, i == a].mean().sqrt() for b, a in blocks])
            of_weight = torch.zeros(old.shape)
            for (b, a), value in zip(blocks, strength, strict=True):
                of_weight[(j == b)[:, None] & (i == a)] = value
            every[layer.name] = of_weight
            kept = torch.stack([bool((new[j == b][:, i == a] != 0).any()) * torch.ones(()) for b, a in blocks]) > 0
        strongest = strength == strength.max()
        assert kept[strongest].all()
        gone += strength[~kept].tolist()
        left += strength[kept & ~strongest].tolist()
    assert max(gone) < min(left) * (1 + 1e-6)
    limit = Budget.parse("energy/2").limit(found.cost())
    assert Counter.of(found).count(network).energy_pj <= limit
    with torch.no_grad():
        for name, strength in every.items():
            stays = (strength >= max(gone) * (1 - 1e-6)) | (strength == strength.max())
            network.get_submodule(name).weight.copy_(before[name] * stays)
    assert Counter.of(found).count(network).energy_pj > limit


def test_the_share_that_is_gone_rises_by_the_cubic_schedule(network: nn.Module, image: Tensor) -> None:
    control = started(network, image, "weight", 10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    total = sum(left.numel() for left in control.left.values())
    gone = []
    for _ in range(10):
        control.step_(optimizer)
        gone.append(sum(int((~left).sum()) for left in control.left.values()) / total)
    for step, share in enumerate(gone, start=1):
        assert share == pytest.approx(gone[-1] * (1 - (1 - step / 10) ** 3), abs=2 / total)


def test_what_is_gone_stays_gone_under_momentum(network: nn.Module, image: Tensor, batches: Batch) -> None:
    control = started(network, image, "connection", 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for x, y in batches:
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        control.step_(optimizer)
        optimizer.zero_grad()
    assert not all(left.all() for left in control.left.values())
    for layer in control.layers:
        left = control.left[layer.name]
        assert (network.get_submodule(layer.name).weight[~left] == 0).all()
