"""Lightning's Trainer reaches the budget, and goes on from a checkpoint to what it would have been."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cannon_fx import AppliedPlan, InfeasibleError, apply_cannon

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    pytest.importorskip("lightning", reason="lightning is not installed")

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from cannon_fx.callbacks.lightning import CannonCallback

Batches = list[tuple[Tensor, Tensor]]


class Module(LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def trained(
    network: nn.Module, batches: Batches, folder: Path, budget: str, resume: Path | None = None, accumulate: int = 1
) -> AppliedPlan:
    result = apply_cannon(network, batches[0][0], chip="demo-32nm", group_size=4)
    trainer = Trainer(
        accelerator="cpu", max_epochs=8, accumulate_grad_batches=accumulate, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
        callbacks=[CannonCallback(result, budget), ModelCheckpoint(folder, "{epoch}", save_top_k=-1)],
    )  # fmt: skip
    trainer.fit(Module(network), torch.utils.data.DataLoader(batches, batch_size=None), ckpt_path=resume)
    return result


def test_reaches_the_budget_and_goes_on_from_a_checkpoint(
    make_network: Callable[[], nn.Module], batches: Batches, tmp_path: Path
) -> None:
    """The same weights whether it was stopped in the descent, in the fine-tuning, or never."""
    straight = make_network()
    result = trained(straight, batches, tmp_path / "a", "energy/2")
    assert (result.control.steps, result.control.landed) == (16, True)
    assert result.cost().energy_pj <= result.control.dense / 2
    for epoch in (1, 5):
        resumed = make_network()
        trained(resumed, batches, tmp_path / "b", "energy/2", resume=tmp_path / "a" / f"epoch={epoch}.ckpt")
        weights = resumed.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in straight.state_dict().items())


def test_accumulated_gradients_are_one_step(network: nn.Module, batches: Batches, tmp_path: Path) -> None:
    result = trained(network, batches, tmp_path, "energy/2", accumulate=2)
    assert (result.control.steps, result.control.landed) == (8, True)


def test_an_infeasible_budget_is_refused(network: nn.Module, batches: Batches, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="cannot be met"):
        trained(network, batches, tmp_path, "energy/9999")
