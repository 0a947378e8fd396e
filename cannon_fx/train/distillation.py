"""Distillation: the network as it was given teaches the one that becomes sparse (Hinton et al., 2015)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from cannon_fx.errors import RunError
from cannon_fx.wrappers import unwrapped

TEMPERATURE = 4.0
"""By which answers are softened, so that those for wrong classes count too."""


def check_share(distill: float) -> None:
    """Raises RunError for what is no share of the loss."""
    if not 0 <= distill <= 1:
        raise RunError(f"distill is {distill}: give a share of the loss, from 0 to 1.")


class Teacher:
    """A frozen copy of a network as it is now."""

    def __init__(self, network: nn.Module) -> None:
        """Hooks are copied, too. Raises RunError for a network that cannot be."""
        try:
            self.network = copy.deepcopy(unwrapped(network)).eval().requires_grad_(False)
        except Exception as error:  # whatever the parts of the network raise
            raise RunError(
                f"the network cannot be copied to be its own teacher: {error}. Train without distill."
            ) from error

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Its logits."""
        logits: Tensor = self.network(x)
        return logits


def divergence(logits: Tensor, given: Tensor) -> Tensor:
    """How far softened `logits` [N, classes, ...] are from those `given`: T² KL, mean over all but the classes.

    Near the teacher, T² makes it and its gradient the same for every temperature; far from it, a gradient is up to T
    times as large as cross-entropy's.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    student, teacher = (log_softmax(values.to(dtype) / TEMPERATURE, 1) for values in (logits, given))
    return TEMPERATURE**2 * kl_div(student, teacher, reduction="none", log_target=True).sum(1).mean()
