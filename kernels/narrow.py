"""A layer of which whole input channels are cut: the dense op on the others. Any dtype and block.

What takes time besides is gathering those channels of the input. So gathers read and write memory in its order, and
their gradients are gathers too: index_select's own adds up channel by channel. What takes memory is keeping them for
the backward pass beside the input, which others keep. So they are gathered again there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from .autograd import traced
from .pattern import BlockPattern


class Columns(NamedTuple):
    """The input channels of which any weight is kept."""

    live: Tensor
    """[L]: those, in order"""
    place: Tensor
    """[in]: where each is among them; L, a channel of zeros behind them, for the others"""
    whole: bool
    """Whether all of their weights are kept"""

    @classmethod
    def of(cls, pattern: BlockPattern, device: torch.device) -> Columns:
        live = pattern.live
        place = torch.where(live, live.cumsum(0) - 1, live.sum())
        whole = bool(pattern.keep[:, pattern.keep.any(0)].all())
        return cls(live.nonzero()[:, 0].to(device), place.to(device), whole)


def take(values: Tensor, columns: Columns, dim: int) -> Tensor:
    """The live channels of `values`, whose dimension `dim` is the input channels. A gradient is zero for the others."""
    if traced():
        return values.index_select(dim, columns.live)
    image = values.dim() == 4 and dim in (1, -3) and values.is_contiguous(memory_format=torch.channels_last)
    if not torch.is_grad_enabled():
        return _gathered(values, columns.live, dim, image)
    return _Take.apply(values, columns.live, columns.place, dim % values.dim(), image)  # type: ignore[no-untyped-call]


def narrow(op: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, columns: Columns, dim: int) -> Tensor:
    """`op` on the live channels of x, whose dimension `dim` they are, and of `weight` [out, in, *taps]."""
    narrow_x, narrow_weight = take(x, columns, dim), take(weight, columns, 1)
    if traced() or not torch.is_grad_enabled() or x.is_inference():
        return op(narrow_x, narrow_weight)
    whole, version = x.detach(), x._version
    address, shape = narrow_x.data_ptr(), narrow_x.shape  # the hooks outlive it

    def pack(saved: Tensor) -> Tensor | None:
        return None if saved.data_ptr() == address and saved.shape == shape else saved

    def unpack(saved: Tensor | None) -> Tensor:
        if saved is not None:
            return saved
        if whole._version != version:
            raise RuntimeError("the input of a narrow layer was modified by an inplace operation before its gradient.")
        with torch.no_grad():
            return take(whole, columns, dim)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return op(narrow_x, narrow_weight)


class _Take(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, live: Tensor, place: Tensor, dim: int, image: bool) -> Tensor:
        ctx.live, ctx.place, ctx.dim, ctx.image = live, place, dim, image
        return _gathered(values, live, dim, image)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        padded = F.pad(gradient, (0, 0) * (gradient.dim() - 1 - ctx.dim) + (0, 1))
        return _gathered(padded, ctx.place, ctx.dim, ctx.image), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _gathered(tangent, ctx.live, ctx.dim, ctx.image)


def _gathered(values: Tensor, index: Tensor, dim: int, image: bool) -> Tensor:
    """index_select; of an `image`, which is channels_last, into another one."""
    if not image:
        return values.index_select(dim, index)
    rows = values.permute(0, 2, 3, 1)
    taken = rows.reshape(-1, rows.shape[3]).index_select(1, index)
    return taken.view(*rows.shape[:3], len(index)).permute(0, 3, 1, 2)
