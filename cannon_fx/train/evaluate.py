"""How well a network does on a data set."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cannon_fx.capture import evaluating
from cannon_fx.train.ranks import rank, ranks, summed

Loader = Iterable[tuple[Tensor, Tensor]]
"""Minibatches (inputs, labels); with `__len__`, and with `set_epoch(epoch)` if its order depends on the epoch."""


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, device: torch.device | str = "cpu") -> float:
    """Share of `loader`'s samples that `model` classifies right, in eval mode. Processes take turns at the batches."""
    if isinstance(model, DistributedDataParallel):  # whose forward would wait for the other processes
        model = model.module
    right, seen = torch.zeros((), dtype=torch.int64, device=device), 0
    with evaluating(model):
        for number, (x, y) in enumerate(loader):
            if number % ranks() == rank():
                right += (model(x.to(device)).argmax(1) == y.to(device)).sum()
            seen += len(y)
    return int(summed(right)) / max(seen, 1)
