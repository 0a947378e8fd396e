"""What the baselines share: optimiser steps that are counted down, and no penalty in the loss."""

from __future__ import annotations

import torch
from torch import Tensor


class Descent:
    """`step` of `steps` optimiser steps are done."""

    step: int
    steps: int

    @property
    def landed(self) -> bool:
        return self.step >= self.steps

    @property
    def strength(self) -> float:
        return 0.0

    def regularizer(self) -> Tensor:
        """Nothing is added to the loss; a penalty that a baseline has is minimised by a step of its own."""
        return torch.zeros(())
