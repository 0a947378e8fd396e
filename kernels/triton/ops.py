"""The raw ops on the Triton kernels, with the arguments and results of their namesakes in `cpu/brgemm.py`.

A linear layer is a convolution of one image of height 1, and so is every convolution that reads each position alone.
`sizes` are (out_channels, in_channels of one group, out_block, group_size).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..window import Window
from .outer import Outer
from .product import Product, Taps
from .schedule import forward_schedule, grad_input_schedule


def available(dtype: torch.dtype, sizes: Sequence[int], groups: int = 1) -> bool:
    """Whether the kernels compute this: fp32, fp16 and bf16; the groups of a convolution must be whole column blocks."""
    out_channels, _, out_block, _ = sizes
    whole = groups == 1 or out_channels // groups % out_block == 0
    return whole and dtype in (torch.float32, torch.float16, torch.bfloat16)


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    row_start: Tensor,
    row_group: Tensor,
    block_of: Tensor,
    sizes: Sequence[int],
    activation: str,
) -> Tensor:
    """[M, in_channels] -> [M, out_channels]."""
    y = x.new_empty(x.shape[0], sizes[0])
    _forward(_rows(x), _taps_inside(weight, Window()), bias, _rows(y), block_of, sizes, Window(), activation)
    return y


def linear_grad_input(
    grad_out: Tensor, weight: Tensor, col_start: Tensor, col_block: Tensor, col_slot: Tensor, sizes: Sequence[int]
) -> Tensor:
    """[M, out_channels] -> [M, in_channels]."""
    result = grad_out.new_empty(grad_out.shape[0], sizes[1])
    weight = _taps_inside(weight, Window())
    _grad_input(_rows(grad_out), weight, _rows(result), (col_start, col_block, col_slot), sizes, Window())
    return result


def linear_grad_weight(grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], packed: bool) -> Tensor:
    """[M, out_channels], [M, in_channels] -> the weight's shape, zeros where cut."""
    return _grad_weight(_rows(grad_out), _rows(x), block_of, sizes, Window(), packed).flatten(-3)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    row_start: Tensor,
    row_group: Tensor,
    block_of: Tensor,
    sizes: Sequence[int],
    window: Window,
    activation: str,
) -> Tensor:
    """[N, C, H, W] -> [N, out_channels, OH, OW], both channels_last."""
    y = _image(x, x.shape[0], sizes[0], *window.out_size(*x.shape[2:]))
    weight = _taps_inside(weight, window)
    _forward(*_positions(window, x), weight, bias, *_positions(window, y), block_of, sizes, window, activation)
    return y


def conv2d_grad_input(
    grad_out: Tensor,
    weight: Tensor,
    col_start: Tensor,
    col_block: Tensor,
    col_slot: Tensor,
    sizes: Sequence[int],
    window: Window,
    size: Sequence[int],
) -> Tensor:
    """[N, out_channels, OH, OW] -> [N, C, *size], both channels_last."""
    result = _image(grad_out, grad_out.shape[0], sizes[1] * window.groups, *size)
    grad, x = _positions(window, grad_out, result)
    _grad_input(grad, _taps_inside(weight, window), x, (col_start, col_block, col_slot), sizes, window)
    return result


def conv2d_grad_weight(
    grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], window: Window, packed: bool
) -> Tensor:
    """[N, out_channels, OH, OW], [N, C, H, W] -> the weight's shape, zeros where cut."""
    return _grad_weight(*_positions(window, grad_out, x), block_of, sizes, window, packed)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    y: Tensor,
    block_of: Tensor,
    sizes: Sequence[int],
    window: Window,
    activation: str,
) -> None:
    out_channels, in_channels, out_block, group_size = sizes
    groups = window.groups
    padding_h, padding_w = window.padding
    Product(
        x=x, weight=weight, k_first=False, y=y, bias=bias, activation=activation,
        taps=Taps(window.stride, (-padding_h, -padding_w), window.dilation),
        n=out_channels // groups, k=in_channels, n_unit=out_block, k_unit=group_size, groups=groups,
    ).run(lambda span: forward_schedule(block_of, -(-out_channels // groups // out_block), groups, span))  # fmt: skip


def _grad_input(
    grad: Tensor, weight: Tensor, x: Tensor, columns: tuple[Tensor, Tensor, Tensor], sizes: Sequence[int], window: Window
) -> None:
    """A product for every phase of the stride: positions of x that lie alike in it read the same taps, at distances that
    grow by one from position to position, so no tap is tried in vain."""
    out_channels, in_channels, out_block, group_size = sizes
    groups = window.groups
    for phase_h in range(window.stride[0]):
        first_h, every_h, origin_h, step_h = _phase(phase_h, window, 0)
        for phase_w in range(window.stride[1]):
            first_w, every_w, origin_w, step_w = _phase(phase_w, window, 1)
            part = x[:, phase_h :: window.stride[0], phase_w :: window.stride[1]]
            read = weight[..., first_h::every_h, first_w::every_w, :]
            if read.numel() == 0:
                part.zero_()
                continue
            Product(
                x=grad, weight=read, k_first=True, y=part, bias=None, activation="none",
                taps=Taps((1, 1), (origin_h, origin_w), (step_h, step_w)),
                n=in_channels, k=out_channels // groups, n_unit=group_size, k_unit=out_block, groups=groups,
            ).run(lambda span: grad_input_schedule(*columns, -(-out_channels // groups // out_block), groups, span))  # fmt: skip


def _phase(phase: int, window: Window, axis: int) -> tuple[int, int, int, int]:
    """(first tap, every how many) that positions stride * q + phase of the input read, and where, as in Taps: tap number t
    among those reads grad at q + origin + t * step. The first tap lies behind the last when there is none."""
    taps, stride, padding, dilation = (pair[axis] for pair in window[:4])
    every = stride // math.gcd(stride, dilation)
    first = next((tap for tap in range(every) if (phase + padding - tap * dilation) % stride == 0), taps)
    return first, every, (phase + padding - first * dilation) // stride, -(every * dilation // stride)


def _grad_weight(
    grad: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], window: Window, packed: bool
) -> Tensor:
    out_channels, in_channels, out_block, group_size = sizes
    padding_h, padding_w = window.padding
    if packed:
        out = x.new_empty(len(block_of), out_block, group_size, *window.taps)
    else:
        out = x.new_zeros(out_channels, in_channels, *window.taps)
    Outer(
        grad=grad, x=x, out=out.movedim(-3, -1), block_of=block_of,
        taps=Taps(window.stride, (-padding_h, -padding_w), window.dilation),
        in_channels=in_channels, out_block=out_block, group_size=group_size, groups=window.groups,
    ).run()  # fmt: skip
    return out


def _taps_inside(weight: Tensor, window: Window) -> Tensor:
    """[..., o, c, taps] -> [..., o, taps_h, taps_w, c]: no copy where the memory is so already (channels_last)."""
    if weight.dim() < 4:
        weight = weight[..., None, None]
    return weight.movedim(-3, -1).contiguous()


def _rows(x: Tensor) -> Tensor:
    """[M, channels] -> [1, 1, M, channels]."""
    return (x if x.stride(-1) == 1 else x.contiguous())[None, None]


def _positions(window: Window, *images: Tensor) -> tuple[Tensor, ...]:
    """[N, C, H, W] -> [N, H, W, C], or all positions in one line where each is read alone."""
    channels_last = tuple(image.movedim(1, -1).contiguous() for image in images)
    if window.pointwise:
        return tuple(image.flatten(0, 2)[None, None] for image in channels_last)
    return channels_last


def _image(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
