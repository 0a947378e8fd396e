"""The raw ops in plain torch: gather and batched products for linear layers, the dense op for convolutions.

For every dtype and device that has no better kernel. Arguments and results as in `cpu/brgemm.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from .reference import ACTIVATIONS
from .window import Window


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
    out_channels, _, out_block, group_size = sizes
    j, g = block_of.long().T
    products = torch.bmm(_split(x, group_size)[g], _blocks(weight, j, g, sizes).mT)
    y = _sum(products, j, out_channels, out_block)
    return ACTIVATIONS[activation](y if bias is None else y + bias)


def linear_grad_input(
    grad_out: Tensor, weight: Tensor, col_start: Tensor, col_block: Tensor, col_slot: Tensor, sizes: Sequence[int]
) -> Tensor:
    """[M, out_channels] -> [M, in_channels]."""
    _, in_channels, out_block, group_size = sizes
    j, g = _by_slot(col_start, col_block, col_slot)
    products = torch.bmm(_split(grad_out, out_block)[j], _blocks(weight, j, g, sizes))
    return _sum(products, g, in_channels, group_size)


def linear_grad_weight(grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], packed: bool) -> Tensor:
    """[M, out_channels], [M, in_channels] -> the weight's shape, zeros where cut."""
    j, g = block_of.long().T
    blocks = torch.bmm(_split(grad_out, sizes[2])[j].mT, _split(x, sizes[3])[g])
    return blocks if packed else _dense(blocks, j, g, sizes)


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
    """[N, C, H, W] -> [N, out_channels, OH, OW], channels_last."""
    j, g = block_of.long().T
    kept = _dense(_blocks(weight, j, g, sizes), j, g, sizes)
    y = F.conv2d(x, kept, bias, window.stride, window.padding, window.dilation, window.groups)
    return _channels_last(ACTIVATIONS[activation](y))


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
    """[N, out_channels, OH, OW] -> [N, C, *size], channels_last."""
    j, g = _by_slot(col_start, col_block, col_slot)
    kept = _dense(_blocks(weight, j, g, sizes), j, g, sizes)
    shape = grad_out.shape[0], sizes[1] * window.groups, *size
    return _channels_last(conv2d_input(shape, kept, grad_out, *window[1:]))


def conv2d_grad_weight(
    grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], window: Window, packed: bool
) -> Tensor:
    """[N, out_channels, OH, OW], [N, C, H, W] -> the weight's shape, zeros where cut."""
    j, g = block_of.long().T
    whole = conv2d_weight(x, [*sizes[:2], *window.taps], grad_out, *window[1:])
    blocks = _blocks(whole, j, g, sizes)
    return blocks if packed else _dense(blocks, j, g, sizes)


def _split(x: Tensor, size: int) -> Tensor:
    """[M, channels] -> [ceil(channels / size), M, size], filled with zeros."""
    padded = F.pad(x, (0, -x.shape[1] % size))
    return padded.unflatten(1, (-1, size)).transpose(0, 1)


def _sum(products: Tensor, index: Tensor, channels: int, size: int) -> Tensor:
    """[nnz, M, size] -> [M, channels]: those of one index added up."""
    parts = products.new_zeros(-(-channels // size), *products.shape[1:]).index_add_(0, index, products)
    return parts.transpose(0, 1).flatten(1)[:, :channels].contiguous()


def _by_slot(col_start: Tensor, col_block: Tensor, col_slot: Tensor) -> tuple[Tensor, Tensor]:
    """(j, g) of each slot."""
    j, g = torch.empty_like(col_slot, dtype=torch.int64), torch.empty_like(col_slot, dtype=torch.int64)
    groups = torch.arange(len(col_start) - 1, device=j.device).repeat_interleave(col_start.diff())
    j[col_slot.long()], g[col_slot.long()] = col_block[:-1].long(), groups
    return j, g


def _tiled(whole: Tensor, sizes: Sequence[int]) -> Tensor:
    """[out, in, *taps] -> [J, G, out_block, group_size, *taps], filled with zeros."""
    _, _, out_block, group_size = sizes
    edge = (*(0, 0) * (whole.dim() - 2), 0, -whole.shape[1] % group_size, 0, -whole.shape[0] % out_block)
    return F.pad(whole, edge).unflatten(1, (-1, group_size)).unflatten(0, (-1, out_block)).transpose(1, 2)


def _blocks(weight: Tensor, j: Tensor, g: Tensor, sizes: Sequence[int]) -> Tensor:
    """The kept blocks [nnz, out_block, group_size, *taps] of either storage."""
    return weight if weight.dim() % 2 == 1 else _tiled(weight, sizes)[j, g]


def _dense(blocks: Tensor, j: Tensor, g: Tensor, sizes: Sequence[int]) -> Tensor:
    """The weight [out, in, *taps] of the kept blocks."""
    whole = blocks.new_zeros(*sizes[:2], *blocks.shape[3:])
    edge = (*(0, 0) * (whole.dim() - 2), 0, -sizes[1] % sizes[3], 0, -sizes[0] % sizes[2])
    padded = F.pad(whole, edge)
    padded.unflatten(1, (-1, sizes[3])).unflatten(0, (-1, sizes[2])).transpose(1, 2)[j, g] = blocks
    return padded[: sizes[0], : sizes[1]].contiguous()


def _channels_last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)
