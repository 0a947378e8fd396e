"""For the Trainer of Hugging Face's transformers.

result = apply_cannon(model, inputs, chip="siam-32nm")
Trainer(model, arguments, train_dataset=data, callbacks=[CannonCallback(result, "energy/3")]).train()
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from cannon_fx.applied import AppliedPlan

STATE = "cannon.pt"


class CannonCallback(TrainerCallback):
    """Brings the network of `result` to `budget` in the first `descent` of the training's steps; the rest fine-tune.

    The Trainer's checkpoints hold its state too, in a file of their own, so that `resume_from_checkpoint` goes on.
    A learning rate that stays high during the descent serves best, such as that of `lr_scheduler_type="cosine"`.
    Training raises InfeasibleError before its first step for a budget that no masks meet.
    """

    def __init__(self, result: AppliedPlan, budget: str = "energy/3", descent: float = 0.5) -> None:
        self.result, self.budget, self.descent = result, budget, descent

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Sets the budget; in a training that is resumed, takes up the state."""
        begun = self.result.set_budget(self.budget, max(1, round(self.descent * state.max_steps)))
        if state.global_step:
            begun.load_state_dict(torch.load(_file(args, state), weights_only=True))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Penalty, budget control, masks: after the optimiser's step, before gradients are cleared."""
        optimizer: Optimizer = others["optimizer"]
        self.result.step_(optimizer)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Saves the state beside the Trainer's own."""
        if state.is_world_process_zero:
            torch.save(self.result.control.state_dict(), _file(args, state))


def _file(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", STATE)
