"""The Trainer of transformers reaches the budget, and goes on from a checkpoint to what it would have been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cannon_fx import AppliedPlan, InfeasibleError, apply_cannon
from cannon_fx.zoo.torchvision_ops import import_torchvision

import_torchvision()  # transformers wants it, whether it fits this torch or not
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate, which the Trainer needs, is not installed")
callback = pytest.importorskip("cannon_fx.callbacks.huggingface").CannonCallback

Batches = list[tuple[Tensor, Tensor]]


class Classifier(nn.Module):
    """Returns a loss beside the logits, as the models of transformers do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def trained(
    network: nn.Module, batches: Batches, folder: Path, budget: str, resume: Path | None = None, **options: Any
) -> AppliedPlan:
    result = apply_cannon(network, batches[0][0], chip="demo-32nm", group_size=4)
    data = [{"x": x, "labels": y} for images, labels in batches for x, y in zip(images, labels, strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=32, use_cpu=True, report_to=[], disable_tqdm=True,
        learning_rate=1e-2, lr_scheduler_type="cosine", save_strategy="steps", save_steps=6, **options,
    )  # fmt: skip
    trainer = transformers.Trainer(
        Classifier(network), arguments, train_dataset=data, callbacks=[callback(result, budget)]
    )
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return result


def test_reaches_the_budget_and_goes_on_from_a_checkpoint(
    make_network: Callable[[], nn.Module], batches: Batches, tmp_path: Path
) -> None:
    """The same weights whether it was stopped in the descent, in the fine-tuning, or never."""
    straight = make_network()
    result = trained(straight, batches, tmp_path, "energy/2", num_train_epochs=6)
    assert (result.control.steps, result.control.landed) == (12, True)
    assert result.cost().energy_pj <= result.control.dense / 2
    for step in (6, 18):
        resumed = make_network()
        trained(resumed, batches, tmp_path, "energy/2", tmp_path / f"checkpoint-{step}", num_train_epochs=6)
        weights = resumed.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in straight.state_dict().items())


def test_accumulated_gradients_are_one_step(network: nn.Module, batches: Batches, tmp_path: Path) -> None:
    result = trained(network, batches, tmp_path, "energy/2", num_train_epochs=8, gradient_accumulation_steps=2)
    assert (result.control.steps, result.control.landed) == (8, True)


def test_an_infeasible_budget_is_refused(network: nn.Module, batches: Batches, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InfeasibleError, match="cannot be met"):
        trained(network, batches, tmp_path, "energy/9999", max_steps=2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
