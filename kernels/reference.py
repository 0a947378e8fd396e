"""The specification of the block-sparse ops: the dense op on a weight whose cut blocks are zero.

Masking the weight also masks the weight's gradient. Every faster kernel must give these numbers. Any dtype and
device; fp64 here is what the tests hold the kernels against.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .packed import unpack
from .pattern import BlockPattern


def masked_weight(weight: Tensor, mask: Tensor) -> Tensor:
    """`weight` [out, in, *taps] with zeros where `mask`, bool [out, in], is False."""
    return torch.where(mask.view(*mask.shape, *(1,) * (weight.dim() - 2)), weight, 0.0)


def dense_weight(weight: Tensor, pattern: BlockPattern, packed: bool) -> Tensor:
    """The weight that counts, [out, in, *taps], of either storage."""
    if packed:
        return unpack(weight, pattern)
    return masked_weight(weight, pattern.spread(pattern.keep).to(weight.device))


ACTIVATIONS = {"none": lambda y: y, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}
"""What may follow the bias, by name; gelu is the exact one (erf)."""


def linear(
    x: Tensor,
    weight: Tensor,
    pattern: BlockPattern,
    bias: Tensor | None = None,
    activation: str = "none",
    packed: bool = False,
) -> Tensor:
    """[..., in_channels] -> [..., out_channels]."""
    return ACTIVATIONS[activation](F.linear(x, dense_weight(weight, pattern, packed), bias))


def conv2d(
    x: Tensor,
    weight: Tensor,
    pattern: BlockPattern,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    activation: str = "none",
    packed: bool = False,
) -> Tensor:
    """[N, in_channels, H, W] -> [N, out_channels, OH, OW]; the pattern is over (out, in / groups)."""
    kept = dense_weight(weight, pattern, packed)
    return ACTIVATIONS[activation](F.conv2d(x, kept, bias, stride, padding, dilation, groups))
