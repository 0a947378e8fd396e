"""Block-sparse linear and convolution, for calling: what F.linear and F.conv2d would give if cut weights were zero.

Fast where `dispatch.py` has kernels, right everywhere; under autograd, torch.compile, torch.export, torch.func, AMP.
What does not fit together is a ValueError.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import ops as ops  # registers what autograd.py calls
from .autograd import Call, forward
from .pattern import BlockPattern
from .reference import ACTIVATIONS
from .window import Window

Pair = int | tuple[int, int]


def block_sparse_linear(
    x: Tensor,
    weight: Tensor,
    pattern: BlockPattern,
    bias: Tensor | None = None,
    activation: str = "none",
    packed: bool = False,
) -> Tensor:
    """[..., in_channels] -> [..., out_channels], followed by "none", "relu", "gelu" (exact) or "silu".

    `weight` is [out_channels, in_channels], whatever stands in its cut blocks, or [nnz, out_block, group_size] with
    `packed`. Its gradient has the same shape, and zeros where cut.
    """
    x, weight, bias = _cast(x, weight, bias)
    _check(x, weight, pattern, bias, activation, packed, ())
    if x.dim() < 1 or x.shape[-1] != pattern.in_channels:
        raise ValueError(f"the pattern has {pattern.in_channels} input channels, x is {list(x.shape)}; want [..., in]")
    rows = x.reshape(-1, pattern.in_channels)
    y = _apply(rows, weight, _call(pattern, x.device, packed), bias, activation)
    return y.view(*x.shape[:-1], pattern.out_channels)


def block_sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    pattern: BlockPattern,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str = "none",
    packed: bool = False,
) -> Tensor:
    """[N, C, H, W] (or [C, H, W]) -> [N, out_channels, OH, OW] in channels_last; the pattern is over (out, C / groups).

    `weight` is [out_channels, C / groups, R, S], whatever stands in its cut blocks, or packed
    [nnz, out_block, group_size, R, S]. Its gradient has the same shape, and zeros where cut.
    """
    x, weight, bias = _cast(x, weight, bias)
    taps = weight.shape[-2:]
    _check(x, weight, pattern, bias, activation, packed, tuple(taps))
    window = Window((taps[0], taps[1]), _pair(stride), _pair(padding), _pair(dilation), groups)
    window.check(pattern.out_channels)
    if x.dim() not in (3, 4) or x.shape[-3] != pattern.in_channels * groups:
        channels = f"{groups} x {pattern.in_channels}" if groups > 1 else f"{pattern.in_channels}"
        raise ValueError(f"the pattern has {channels} input channels, x is {list(x.shape)}; want [N, C, H, W]")
    height, width = x.shape[-2:]
    if min(window.out_size(height, width)) < 1:
        raise ValueError(f"nothing is left of an image of {height} x {width} under taps {list(taps)} and {window}")
    images = x if x.dim() == 4 else x[None]
    y = _apply(images, weight, _call(pattern, x.device, packed, window, (height, width)), bias, activation)
    return y if x.dim() == 4 else y[0]


def block_sparse_conv1d(
    x: Tensor,
    weight: Tensor,
    pattern: BlockPattern,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    activation: str = "none",
    packed: bool = False,
) -> Tensor:
    """[N, C, L] (or [C, L]) -> [N, out_channels, OL]: a conv2d on images of height 1."""
    y = block_sparse_conv2d(
        x.unsqueeze(-2),
        weight.unsqueeze(-2),
        pattern,
        bias,
        (1, stride),
        (0, padding),
        (1, dilation),
        groups,
        activation,
        packed,
    )
    return y.squeeze(-2)


def _pair(value: Pair) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"stride, padding and dilation are one number or two, got {value}")
    return pair


def _call(
    pattern: BlockPattern,
    device: torch.device,
    packed: bool,
    window: Window | None = None,
    size: tuple[int, int] = (1, 1),
) -> Call:
    lists = pattern.lists(device)
    return Call(
        row_start=lists.row_start,
        row_group=lists.row_group,
        col_start=lists.col_start,
        col_block=lists.col_block,
        col_slot=lists.col_slot,
        block_of=lists.block_of,
        sizes=(pattern.out_channels, pattern.in_channels, pattern.out_block, pattern.group_size),
        packed=packed,
        window=window,
        size=size,
    )


def _apply(x: Tensor, weight: Tensor, call: Call, bias: Tensor | None, activation: str) -> Tensor:
    # An activation's gradient needs what came in: kept by autograd, the activation being an op of its own. Computing
    # it again in a fused backward would cost a whole forward.
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return ACTIVATIONS[activation](forward(x, weight, call, bias, "none"))
    return forward(x, weight, call, bias, activation)


def _cast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """As autocast casts the inputs of F.linear and F.conv2d."""
    device = x.device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor

    return cast(x), cast(weight), bias if bias is None else cast(bias)


def _check(
    x: Tensor,
    weight: Tensor,
    pattern: BlockPattern,
    bias: Tensor | None,
    activation: str,
    packed: bool,
    taps: tuple[int, ...],
) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"no activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    channels = (
        (pattern.nnz, pattern.out_block, pattern.group_size) if packed else (pattern.out_channels, pattern.in_channels)
    )
    if tuple(weight.shape) != (*channels, *taps):
        storage = "packed" if packed else "dense"
        want = [*channels, "R", "S"] if taps else [*channels]
        raise ValueError(f"a {storage} weight of this pattern is {want}, got {list(weight.shape)}")
    if bias is not None and tuple(bias.shape) != (pattern.out_channels,):
        raise ValueError(f"the bias of this pattern is [{pattern.out_channels}], got {list(bias.shape)}")
    for name, tensor in {"weight": weight, "bias": bias}.items():
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise ValueError(f"x is {x.dtype} on {x.device}, {name} {tensor.dtype} on {tensor.device}; make them alike")
    if not x.is_floating_point():
        raise ValueError(f"block-sparse layers compute in floating point, x is {x.dtype}")
