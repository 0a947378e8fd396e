"""Distillation: the network as it was given teaches the one that becomes sparse (Hinton et al., 2015)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

TEMPERATURE = 4.0
"""By which answers are softened, so that those for wrong classes count too."""


class Teacher:
    """A frozen copy of a network as it is now."""

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Its logits."""
        logits: Tensor = self.network(x)
        return logits


def divergence(logits: Tensor, given: Tensor) -> Tensor:
    """How far softened `logits` [N, classes, ...] are from those `given`: T² KL, mean over all but the classes.

    T² keeps its gradient as large as that of cross-entropy, whatever the temperature.
    """
    student, teacher = (log_softmax(values.float() / TEMPERATURE, 1) for values in (logits, given))
    return TEMPERATURE**2 * kl_div(student, teacher, reduction="none", log_target=True).sum(1).mean()
