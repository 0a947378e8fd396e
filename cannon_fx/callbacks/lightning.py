"""For the Trainer of Lightning.

result = apply_cannon(module.network, image, chip="siam-32nm")
Trainer(max_epochs=30, callbacks=[CannonCallback(result, "energy/3")]).fit(module, loader)
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cannon_fx.applied import AppliedPlan


class CannonCallback(Callback):
    """Brings the network of `result` to `budget` in the first `descent` of the training's steps; the rest fine-tune.

    `result` is the plan of the module, or of the network inside it, with one optimiser for all its layers. Lightning's
    checkpoints hold the callback's state, so that `ckpt_path` goes on. A learning rate that stays high during the
    descent serves best. Training raises InfeasibleError before its first step for a budget that no masks meet.
    """

    def __init__(self, result: AppliedPlan, budget: str = "energy/3", descent: float = 0.5) -> None:
        self.result, self.budget, self.descent = result, budget, descent
        self._steps_done = 0
        self._loaded: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the budget; in a training that is resumed, takes up the state."""
        steps = round(self.descent * trainer.estimated_stepping_batches)
        begun = self.result.set_budget(self.budget, max(1, steps))
        self._steps_done = trainer.global_step
        if self._loaded:
            begun.load_state_dict(self._loaded)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Penalty, budget control, masks. Lightning clears gradients later, in the next batch's backward pass."""
        if trainer.global_step > self._steps_done:  # not while gradients accumulate
            self._steps_done = trainer.global_step
            (optimizer,) = trainer.optimizers
            self.result.step_(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return self.result.control.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called before `on_train_start`."""
        self._loaded = state_dict
