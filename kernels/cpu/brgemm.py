"""The raw ops on the C++ kernels, for float32 and bfloat16. `ops.py` has checked the arguments."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..reference import ACTIVATIONS
from ..window import Window, empty_image
from . import build

ACTIVATION = {name: index for index, name in enumerate(ACTIVATIONS)}
"""The order of Activation in finish.h."""


class Problem(ctypes.Structure):
    """The shape of one call, in the order of problem.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("images", "height", "width", "out_height", "out_width"),
            *("in_channels", "out_channels", "conv_groups"),
            *("taps_h", "taps_w", "stride_h", "stride_w", "padding_h", "padding_w", "dilation_h", "dilation_w"),
            *("out_block", "group_size", "column_blocks", "channel_groups", "blocks"),
            *("packed", "row_stride", "channel_stride", "tap_stride"),
        )
    ]

    @classmethod
    def of(
        cls, image: tuple[int, int, int], weight: Tensor, blocks: int, sizes: Sequence[int], window: Window
    ) -> Problem:
        """`image`: N, H, W of the input. `weight`: dense or packed, contiguous or (dense) channels_last."""
        if window.pointwise:
            image = (1, 1, image[0] * image[1] * image[2])
        out_channels, in_channels, out_block, group_size = sizes
        taps = window.taps[0] * window.taps[1]
        packed = weight.dim() % 2 == 1
        channels = group_size if packed else in_channels
        strides = (taps, 1) if weight.is_contiguous() else (1, channels)
        return cls(
            *image,
            *window.out_size(image[1], image[2]),
            *(in_channels * window.groups, out_channels, window.groups),
            *(*window.taps, *window.stride, *window.padding, *window.dilation),
            *(out_block, group_size, -(-out_channels // out_block), -(-in_channels // group_size), blocks),
            *(packed, channels * taps, *strides),
        )


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, compiled if need be. Raises BuildError."""
    try:
        loaded = ctypes.CDLL(str(build.library("block_sparse.cpp")))
    except OSError as error:
        raise build.BuildError(f"the library does not load: {error}") from None
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    arguments: dict[str, list[Any]] = {
        "cannon_forward": [pointer, pointer, pointer, pointer, pointer, integer, pointer],
        "cannon_grad_input": [pointer, pointer, pointer, pointer, pointer, pointer],
        "cannon_grad_weight": [pointer, pointer, pointer, pointer],
    }
    for name, types in arguments.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [ctypes.POINTER(Problem), ctypes.c_int, *types], ctypes.c_char_p
    return loaded


def _call(name: str, problem: Problem, first: Tensor, *others: Tensor | int | None) -> None:
    half = first.dtype == torch.bfloat16
    values = [a.data_ptr() if isinstance(a, Tensor) else a for a in (first, *others)]
    error = getattr(library(), name)(ctypes.byref(problem), half, *values)
    if error is not None:
        raise RuntimeError(f"{name}: {error.decode()}")


@functools.cache
def available(dtype: torch.dtype) -> bool:
    """Whether oneDNN has a brgemm of float32 or bfloat16 on this machine: tried on one block."""
    one = torch.ones(64, 64, dtype=dtype)
    start, zeros = torch.tensor([0, 1], dtype=torch.int32), torch.zeros(1, 2, dtype=torch.int32)
    try:
        linear(one, one, None, start, zeros, zeros, (64, 64, 64, 64), "none")
    except RuntimeError:
        return False
    return True


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
    x, weight = _rows(x), _weight(weight)
    result = x.new_empty(x.shape[0], sizes[0])
    problem = Problem.of((1, 1, x.shape[0]), weight, block_of.shape[0], sizes, Window())
    _call("cannon_forward", problem, x, weight, bias, row_start, row_group, ACTIVATION[activation], result)
    return result


def linear_grad_input(
    grad_out: Tensor, weight: Tensor, col_start: Tensor, col_block: Tensor, col_slot: Tensor, sizes: Sequence[int]
) -> Tensor:
    """[M, out_channels] -> [M, in_channels]."""
    grad_out, weight = _rows(grad_out), _weight(weight)
    result = grad_out.new_empty(grad_out.shape[0], sizes[1])
    problem = Problem.of((1, 1, grad_out.shape[0]), weight, col_slot.shape[0], sizes, Window())
    _call("cannon_grad_input", problem, grad_out, weight, col_start, col_block, col_slot, result)
    return result


def linear_grad_weight(grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], packed: bool) -> Tensor:
    """[M, out_channels], [M, in_channels] -> the weight's shape, zeros where cut."""
    grad_out, x = _rows(grad_out), _rows(x)
    blocks = block_of.shape[0]
    result = x.new_empty((blocks, *sizes[2:]) if packed else sizes[:2])
    problem = Problem.of((1, 1, x.shape[0]), result, blocks, sizes, Window())
    _call("cannon_grad_weight", problem, grad_out, x, block_of, result)
    return result


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
    x, weight = _rows(x), _weight(weight)
    images, _, height, width = x.shape
    result = empty_image(x, images, sizes[0], *window.out_size(height, width))
    problem = Problem.of((images, height, width), weight, block_of.shape[0], sizes, window)
    _call("cannon_forward", problem, x, weight, bias, row_start, row_group, ACTIVATION[activation], result)
    return result


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
    grad_out, weight = _rows(grad_out), _weight(weight)
    images = grad_out.shape[0]
    result = empty_image(grad_out, images, sizes[1] * window.groups, *size)
    problem = Problem.of((images, size[0], size[1]), weight, col_slot.shape[0], sizes, window)
    _call("cannon_grad_input", problem, grad_out, weight, col_start, col_block, col_slot, result)
    return result


def conv2d_grad_weight(
    grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], window: Window, packed: bool
) -> Tensor:
    """[N, out_channels, OH, OW], [N, C, H, W] -> the weight's shape, zeros where cut."""
    grad_out, x = _rows(grad_out), _rows(x)
    blocks = block_of.shape[0]
    result = x.new_empty((blocks, *sizes[2:], *window.taps) if packed else (*sizes[:2], *window.taps))
    images, _, height, width = x.shape
    problem = Problem.of((images, height, width), result, blocks, sizes, window)
    _call("cannon_grad_weight", problem, grad_out, x, block_of, result)
    return result


def _rows(x: Tensor) -> Tensor:
    return x.contiguous() if x.dim() == 2 else x.contiguous(memory_format=torch.channels_last)


def _weight(weight: Tensor) -> Tensor:
    """Taps or channels must be neighbours, and nothing between them."""
    if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        return weight
    return weight.contiguous()
