"""The raw ops on the Triton kernels, with the arguments and results of their namesakes in `cpu/brgemm.py`.

A linear layer is a convolution of one image of height 1, and so is every convolution that reads each position alone.
`sizes` are (out_channels, in_channels of one group, out_block, group_size).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..window import Window, empty_image
from .outer import Outer
from .product import Product, Taps
from .schedule import forward_schedule, grad_input_schedule


def available(dtype: torch.dtype, sizes: Sequence[int], groups: int = 1) -> bool:
    """Whether the kernels compute this: fp32, fp16, bf16; the groups of a convolution must be whole column blocks."""
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
    _forward(_rows(x), _taps_inside(weight), bias, _rows(y), block_of, sizes, Window(), activation)
    return y


def linear_grad_input(
    grad_out: Tensor, weight: Tensor, col_start: Tensor, col_block: Tensor, col_slot: Tensor, sizes: Sequence[int]
) -> Tensor:
    """[M, out_channels] -> [M, in_channels]."""
    result = grad_out.new_empty(grad_out.shape[0], sizes[1])
    weight = _taps_inside(weight)
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
    y = empty_image(x, x.shape[0], sizes[0], *window.out_size(*x.shape[2:]))
    weight = _taps_inside(weight)
    x_positions, y_positions = _positions(x, window), _positions(y, window)
    _forward(x_positions, weight, bias, y_positions, block_of, sizes, window, activation)
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
    result = empty_image(grad_out, grad_out.shape[0], sizes[1] * window.groups, *size)
    grad, x = _positions(grad_out, window), _positions(result, window)
    _grad_input(grad, _taps_inside(weight), x, (col_start, col_block, col_slot), sizes, window)
    return result


def conv2d_grad_weight(
    grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], window: Window, packed: bool
) -> Tensor:
    """[N, out_channels, OH, OW], [N, C, H, W] -> the weight's shape, zeros where cut."""
    return _grad_weight(_positions(grad_out, window), _positions(x, window), block_of, sizes, window, packed)


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
    blocks = _group_blocks(sizes, window.groups)
    padding_h, padding_w = window.padding
    Product(
        x=x,
        weight=weight,
        k_first=False,
        y=y,
        bias=bias,
        activation=activation,
        taps=Taps(window.stride, (-padding_h, -padding_w), window.dilation),
        n=out_channels // window.groups,
        k=in_channels,
        n_unit=out_block,
        k_unit=group_size,
        groups=window.groups,
    ).run(lambda span: forward_schedule(block_of, blocks, window.groups, span))


def _grad_input(
    grad: Tensor,
    weight: Tensor,
    x: Tensor,
    columns: tuple[Tensor, Tensor, Tensor],
    sizes: Sequence[int],
    window: Window,
) -> None:
    """A product for every phase of the stride.

    Positions of x that lie alike in the stride read the same taps, and read them side by side: no tap is tried in vain.
    """
    out_channels, in_channels, out_block, group_size = sizes
    blocks = _group_blocks(sizes, window.groups)
    for phase_h in range(window.stride[0]):
        first_h, every_h, origin_h, step_h = _phase(phase_h, window, 0)
        for phase_w in range(window.stride[1]):
            first_w, every_w, origin_w, step_w = _phase(phase_w, window, 1)
            part = x[:, phase_h :: window.stride[0], phase_w :: window.stride[1]]
            read = weight[..., first_h::every_h, first_w::every_w, :]
            if 0 in read.shape[-3:-1]:
                part.zero_()
                continue
            Product(
                x=grad,
                weight=read,
                k_first=True,
                y=part,
                bias=None,
                activation="none",
                taps=Taps((1, 1), (origin_h, origin_w), (step_h, step_w)),
                n=in_channels,
                k=out_channels // window.groups,
                n_unit=group_size,
                k_unit=out_block,
                groups=window.groups,
            ).run(lambda span: grad_input_schedule(*columns, blocks, window.groups, span))


def _phase(phase: int, window: Window, axis: int) -> tuple[int, int, int, int]:
    """(first, every, origin, step) along an axis for the positions stride * q + phase of the input.

    They read the taps first, first + every, ...; number t of these reads grad at q + origin + t * step. When they read
    none, the first lies behind the last.
    """
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
        grad=grad,
        x=x,
        out=out.movedim(-3, -1),
        block_of=block_of,
        taps=Taps(window.stride, (-padding_h, -padding_w), window.dilation),
        in_channels=in_channels,
        out_block=out_block,
        group_size=group_size,
        groups=window.groups,
    ).run()
    return out


def _group_blocks(sizes: Sequence[int], groups: int) -> int:
    """Column blocks of one group."""
    return -(-(sizes[0] // groups) // sizes[2])


def _taps_inside(weight: Tensor) -> Tensor:
    """[..., o, c, taps] -> [..., o, taps_h, taps_w, c]: no copy where the memory is so already (channels_last)."""
    if weight.dim() < 4:
        weight = weight[..., None, None]
    return weight.movedim(-3, -1).contiguous()


def _rows(x: Tensor) -> Tensor:
    """[M, channels] -> [1, 1, M, channels]."""
    return (x if x.stride(-1) == 1 else x.contiguous())[None, None]


def _positions(image: Tensor, window: Window) -> Tensor:
    """[N, C, H, W] -> [N, H, W, C], or all positions in one line where each is read alone."""
    image = image.movedim(1, -1).contiguous()
    return image.flatten(0, 2)[None, None] if window.pointwise else image
