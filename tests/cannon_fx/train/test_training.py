"""A training that is killed after any step and resumed; steps taken in parts."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cannon_fx import RunError, apply_cannon, plan
from cannon_fx.plans import Plan
from cannon_fx.train.baselines.filters import FilterControl
from cannon_fx.train.baselines.magnitude import MagnitudeControl
from cannon_fx.train.budget import Budget
from cannon_fx.train.training import Training

Batch = list[tuple[Tensor, Tensor]]
CHIP: dict[str, Any] = {"chip": "demo-32nm", "group_size": 2}


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Samples with noise from every global generator, of which a resumed training must know the state."""

    def __init__(self, batches: Batch) -> None:
        self.images, self.labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = float(torch.rand(())) + np.random.rand() + random.random()
        return self.images[index] + 0.01 * noise, self.labels[index]


class Killed(Exception):
    """Stands for a kill."""


def seed() -> None:
    torch.manual_seed(5)
    np.random.seed(6)
    random.seed(7)


class Steps:
    """Counts optimiser steps, and kills after `last` of them."""

    def __init__(self, training: Training, last: int | None = None) -> None:
        self.training, self.count, self.last = training, 0, last

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.last:
            raise Killed

    def run(self) -> list[tuple[Any, ...]]:
        """What is left of the training: the rows, without seconds."""
        rows = []
        while self.training.done < self.training.epochs:
            row = self.training.run_epoch(self)
            rows.append((row.epoch, row.phase, row.loss, row.train_accuracy, row.accuracy, row.energy_pj, row.strength))
        return rows


Make = Callable[[], tuple[nn.Module, Training]]


@pytest.fixture(params=["cannon", "distilled", "unstructured", "depgraph", "plain"])
def make(request: pytest.FixtureRequest, make_network: Callable[[], nn.Module], image: Tensor, batches: Batch) -> Make:
    """Makes the same training of four epochs with four steps each, with dropout, at every call."""

    if request.param == "depgraph":
        pytest.importorskip("torch_pruning", reason="needs the extra cannon-fx[compare]")

    def replan(network: nn.Module) -> Plan:
        return plan(network, image, **CHIP)

    def training() -> tuple[nn.Module, Training]:
        network, budget = nn.Sequential(make_network(), nn.Dropout(0.1)), Budget.parse("energy/2")
        found, limit = replan(network), replan(network).cost().energy_pj / 2
        start: Any = {
            "cannon": lambda steps: apply_cannon(network, image, **CHIP).set_budget(budget, steps),
            "unstructured": lambda steps: MagnitudeControl(found, network, budget, steps, "weight"),
            "depgraph": lambda steps: FilterControl(network, replan, image, limit, budget, steps, "depgraph"),
        }
        loader = DataLoader(Noisy(batches), batch_size=32, shuffle=True)
        distill = 0.7 if request.param == "distilled" else 0.0
        control = start.get("cannon" if distill else request.param)
        return network, Training(network, loader, batches, epochs=4, start=control, distill=distill)

    return training


def test_killed_after_any_step_and_resumed_it_ends_bit_equal(make: Make) -> None:
    straight, whole = make()
    seed()
    rows = Steps(whole).run()
    for last in (1, 4, *random.Random(0).sample(range(2, 16), 4), 16):
        _, first = make()
        seed()
        with pytest.raises(Killed):
            Steps(first, last).run()
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        resumed, second = make()
        torch.manual_seed(99)
        second.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
        steps = Steps(second)
        rest = steps.run()
        assert steps.count == 16 - last
        assert rest == rows[len(rows) - len(rest) :]
        for key, value in straight.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[key]), (last, key)


class NoNorm(nn.Module):
    """The network with its batch norm left out, in float64."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = copy.deepcopy(network).double()
        self.inner.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def trained(network: nn.Module, image: Tensor, batches: Batch, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    """Parameters, masks and losses after three epochs to half of the energy."""
    found = apply_cannon(network, image.to(next(network.parameters()).dtype), **CHIP)
    training = Training(
        network, batches, batches, epochs=3, start=lambda steps: found.set_budget("energy/2", steps), **options
    )
    losses = [epoch.loss for epoch in training]
    return {"weights": dict(network.state_dict()), "keep": found.keep()}, losses


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_step_in_parts_is_the_step_in_one(network: nn.Module, image: Tensor, batches: Batch, parts: int) -> None:
    """Also in parts of unequal size: the same masks, the same weights up to rounding."""
    double = [(x.double(), y) for x, y in batches]
    one, losses = trained(NoNorm(network), image, double)
    other, losses_in_parts = trained(NoNorm(network), image, double, accumulate=parts)
    assert not all(keep.all() for keep in one["keep"].values())
    assert all(np.array_equal(keep, other["keep"][name]) for name, keep in one["keep"].items())
    torch.testing.assert_close(other["weights"], one["weights"], rtol=1e-9, atol=1e-12)
    assert losses_in_parts == pytest.approx(losses, rel=1e-6)


def test_parts_in_bfloat16(network: nn.Module, image: Tensor, batches: Batch) -> None:
    """Autocast in every part; the budget is met all the same."""
    seen = set()
    network.down.register_forward_hook(lambda module, _, output: seen.add((module.training, output.dtype, len(output))))
    found, losses = trained(network, image, batches, accumulate=4, bfloat16=True)
    assert {(True, torch.bfloat16, 8), (False, torch.float32, 32)} <= seen
    assert len({entry for entry in seen if entry[0]}) == 1
    assert losses[-1] < losses[0]
    assert all(value.dtype != torch.bfloat16 for value in found["weights"].values())


def test_more_parts_than_samples_are_refused(network: nn.Module, batches: Batch) -> None:
    with pytest.raises(RunError, match="a batch of 32 samples cannot be divided into 33 parts"):
        list(Training(network, batches, batches, epochs=1, accumulate=33))
