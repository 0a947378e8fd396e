"""Batch norm over what all processes see, so that several with a share of the batch are one with all of it.

torch's own SyncBatchNorm needs GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cannon_fx.train.ranks import ranks, summed


class _Sum(torch.autograd.Function):
    """The sum over all processes, with its gradient: what each process's loss gains by it, together."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return summed(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return summed(gradients[0].clone(memory_format=torch.contiguous_format))


def _sum(values: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return result


class SyncedNorm(nn.modules.batchnorm._BatchNorm):
    """Means and variances of all processes' samples together; with gradients through them."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        over, shape = [d for d in range(x.dim()) if d != 1], [1, -1, *[1] * (x.dim() - 2)]
        count = summed(torch.tensor(x.numel() / x.shape[1], dtype=x.dtype, device=x.device))
        mean = _sum(x.sum(over)) / count
        centred = x - mean.view(shape)
        variance = _sum(centred.square().sum(over)) / count
        self._track(mean, variance * count / (count - 1))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class SyncedNorm1d(SyncedNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d."""


class SyncedNorm2d(SyncedNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d."""


class SyncedNorm3d(SyncedNorm, nn.BatchNorm3d):
    """nn.BatchNorm3d."""


TWIN: dict[type[nn.Module], type[SyncedNorm]] = {
    nn.BatchNorm1d: SyncedNorm1d,
    nn.BatchNorm2d: SyncedNorm2d,
    nn.BatchNorm3d: SyncedNorm3d,
}


@contextmanager
def synced_norms(model: nn.Module) -> Iterator[None]:
    """Inside, the batch norms of `model` are synced if there are several processes; they stay the same objects."""
    plain = {module: type(module) for module in model.modules() if ranks() > 1 and type(module) in TWIN}
    for module, kind in plain.items():
        module.__class__ = TWIN[kind]
    try:
        yield
    finally:
        for module, kind in plain.items():
            module.__class__ = kind
