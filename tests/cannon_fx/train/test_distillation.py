"""Distillation: the divergence against scipy's, and what a training asks of whom."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import Tensor, nn

from cannon_fx import RunError, apply_cannon
from cannon_fx.applied import AppliedPlan
from cannon_fx.train.distillation import TEMPERATURE, divergence
from cannon_fx.train.protocol import Control
from cannon_fx.train.training import Training

Batches = list[tuple[Tensor, Tensor]]


@pytest.mark.parametrize("shape", [(5, 10), (3, 7, 2, 2)])
def test_divergence_is_relative_entropy_of_softened_answers(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (5 * torch.randn(shape, generator=generator) for _ in range(2))
    p, q = (softmax(values.double().numpy() / TEMPERATURE, axis=1) for values in (teacher, student))
    expected = TEMPERATURE**2 * np.mean(rel_entr(p, q).sum(1))
    assert float(divergence(student, teacher)) == pytest.approx(expected, rel=1e-5)


def test_near_the_teacher_it_is_half_the_squared_distance() -> None:
    """Near the teacher, T^2 KL is half the squared distance of the logits, centred, over the number of classes."""
    teacher = torch.randn(4, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1
    step = torch.randn(4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.1
    centred = step - step.mean(1, keepdim=True)
    expected = centred.square().mean(1).mean() / 2
    assert float(divergence(teacher + step, teacher)) == pytest.approx(float(expected), rel=1e-2)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def test_who_is_the_teacher_has_nothing_to_learn(batches: Batches) -> None:
    """With no share left for the labels, a network that is not cut stays as it is."""
    model = network()
    before = copy.deepcopy(model.state_dict())
    training = Training(model, batches, batches, epochs=2, distill=1.0, weight_decay=0.0)
    assert [epoch.loss for epoch in training] == pytest.approx([0.0, 0.0], abs=1e-9)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=1e-6)


def test_the_teacher_is_the_network_as_it_was_given(batches: Batches, image: Tensor) -> None:
    """However much is cut and learnt, and the answers of what is left come nearer to its."""
    answers = {}
    for distill in (0.0, 1.0):
        model = network()
        given, found = copy.deepcopy(model), apply_cannon(model, image, chip="demo-32nm", group_size=2)

        def start(steps: int, found: AppliedPlan = found) -> Control:
            return found.set_budget("energy/2", steps)

        training = Training(model, batches, batches, epochs=6, distill=distill, start=start)
        list(training)
        assert not found.uncut
        if training.teacher:
            torch.testing.assert_close(dict(training.teacher.network.state_dict()), dict(given.state_dict()))
        with torch.no_grad():
            answers[distill] = float(torch.stack([divergence(model(x), given(x)) for x, _ in batches]).mean())
    assert answers[1.0] < answers[0.0] / 2


def test_a_resumed_training_has_the_teacher_of_the_first(batches: Batches) -> None:
    """Also when it was made from other weights."""
    first = Training(network(), batches, batches, epochs=2, distill=0.7)
    first.run_epoch()
    second = Training(network(seed=1), batches, batches, epochs=2, distill=0.7)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert first.run_epoch().loss == second.run_epoch().loss
    assert first.teacher
    assert second.teacher
    torch.testing.assert_close(second.teacher.network.state_dict(), first.teacher.network.state_dict(), rtol=0, atol=0)


def test_the_teacher_does_not_drop_out(batches: Batches) -> None:
    training = Training(nn.Sequential(network(), nn.Dropout(0.9)), batches, batches, epochs=1, distill=0.7)
    training.run_epoch()
    assert training.teacher
    x = batches[0][0]
    torch.testing.assert_close(training.teacher(x), network()(x))


def test_a_network_that_cannot_be_copied(batches: Batches) -> None:
    model = network()
    model.seen = model(batches[0][0])  # type: ignore[assignment]
    with pytest.raises(
        RunError, match=r"the network cannot be copied to be its own teacher: .* Train without distill\."
    ):
        Training(model, batches, batches, epochs=1, distill=0.7)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_no_share(batches: Batches, share: float) -> None:
    with pytest.raises(RunError, match=r"distill is .*: give a share of the loss, from 0 to 1"):
        Training(network(), batches, batches, epochs=1, distill=share)
