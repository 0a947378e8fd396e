"""The ops as PyTorch's own: for exporters that know no others, such as torch.onnx.export, which look them up here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._decomp import register_decomposition

from . import ops as ops  # which defines them
from .packed import unpack_blocks
from .reference import ACTIVATIONS, masked_weight


def dense_weight(weight: Tensor, block_of: Tensor, sizes: Sequence[int], taps: Sequence[int]) -> Tensor:
    """The weight that counts, [out, in, *taps], of either storage; `block_of` and `sizes` as in ops.py."""
    if weight.dim() == len(taps) + 3:
        return unpack_blocks(weight, block_of, sizes)
    kept = weight.new_ones(block_of.shape[0], *sizes[2:], dtype=torch.bool)
    return masked_weight(weight, unpack_blocks(kept, block_of, sizes))


@register_decomposition(torch.ops.cannon.bs_linear.default)
def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, _row_start: Tensor, _row_group: Tensor, block_of: Tensor,
    sizes: Sequence[int], activation: str,
) -> Tensor:  # fmt: skip
    return ACTIVATIONS[activation](F.linear(x, dense_weight(weight, block_of, sizes, ()), bias))


@register_decomposition(torch.ops.cannon.bs_conv2d.default)
def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, _row_start: Tensor, _row_group: Tensor, block_of: Tensor,
    sizes: Sequence[int], taps: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int, activation: str,
) -> Tensor:  # fmt: skip
    window: Any = (stride, padding, dilation, groups)
    y = F.conv2d(x, dense_weight(weight, block_of, sizes, taps), bias, *window)
    return ACTIVATIONS[activation](y).contiguous(memory_format=torch.channels_last)
