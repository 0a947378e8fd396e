"""The raw ops `cannon::bs_linear`, `cannon::bs_conv2d` and their two gradients each: schema, shapes, who computes them.

What they all take: `sizes` = (out_channels, in_channels / groups, out_block, group_size); the index lists of
`pattern.py`; a weight in dense storage [out, in, *taps] or packed [nnz, out_block, group_size, *taps], told apart by
their dimensions. Images are [N, C, H, W], computed and returned in channels_last. Inputs may have any strides.
Gradients belong to `autograd.py`; that is how these ops work under torch.compile, torch.func and AMP alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import dispatch
from .window import Window, empty_image

_LISTS = "Tensor row_start, Tensor row_group, Tensor block_of, int[] sizes"
_TRANSPOSED = "Tensor col_start, Tensor col_block, Tensor col_slot, int[] sizes"
_WINDOW = "int[] taps, int[] stride, int[] padding, int[] dilation, int groups"
SCHEMAS = {
    "linear": f"(Tensor x, Tensor weight, Tensor? bias, {_LISTS}, str activation)",
    "linear_grad_input": f"(Tensor grad_out, Tensor weight, {_TRANSPOSED})",
    "linear_grad_weight": "(Tensor grad_out, Tensor x, Tensor block_of, int[] sizes, bool packed)",
    "conv2d": f"(Tensor x, Tensor weight, Tensor? bias, {_LISTS}, {_WINDOW}, str activation)",
    "conv2d_grad_input": f"(Tensor grad_out, Tensor weight, {_TRANSPOSED}, {_WINDOW}, SymInt height, SymInt width)",
    "conv2d_grad_weight": f"(Tensor grad_out, Tensor x, Tensor block_of, int[] sizes, {_WINDOW}, bool packed)",
}

# Kept alive with the module: the ops live as long as this object does.
_library = torch.library.Library("cannon", "DEF")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    return x.new_empty(x.shape[0], rest[3][0])


def _linear_grad_input(grad_out: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return grad_out.new_empty(grad_out.shape[0], rest[3][1])


def _linear_grad_weight(grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], packed: bool) -> Tensor:
    return x.new_empty((block_of.shape[0], *sizes[2:]) if packed else sizes[:2])


def _conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    return empty_image(x, x.shape[0], rest[3][0], *Window.of(*rest[4:9]).out_size(*x.shape[2:]))


def _conv2d_grad_input(grad_out: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return empty_image(grad_out, grad_out.shape[0], rest[3][1] * rest[8], *rest[9:])


def _conv2d_grad_weight(grad_out: Tensor, x: Tensor, block_of: Tensor, sizes: Sequence[int], *rest: Any) -> Tensor:
    return x.new_empty((block_of.shape[0], *sizes[2:], *rest[0]) if rest[-1] else (*sizes[:2], *rest[0]))


def _compute(name: str) -> Callable[..., Tensor]:
    """The op on the kernels of its device and dtype; a convolution's window becomes one argument again."""
    at = SCHEMAS[name].split("int[] sizes")[0].count(",") + 1
    convolution, sized = name.startswith("conv2d"), name == "conv2d_grad_input"

    def call(*arguments: Any) -> Tensor:
        if convolution:
            rest = (arguments[at + 5 :],) if sized else arguments[at + 5 :]
            arguments = (*arguments[:at], Window.of(*arguments[at : at + 5]), *rest)
        return dispatch.call(name, *arguments)

    return call


def _batched(op: str) -> Callable[..., tuple[Tensor, int]]:
    """The rule for vmap: a batch of x or grad_out alone joins its first dimension where the result has such a one too,
    anything else is a loop."""
    compute = getattr(torch.ops.cannon, op)

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        batched = [d is not None and not isinstance(d, (tuple, list)) for d in in_dims]
        if batched[0] and not any(batched[1:]) and not op.endswith("grad_weight"):
            first = arguments[0].movedim(in_dims[0], 0)
            return compute(first.flatten(0, 1), *arguments[1:]).unflatten(0, first.shape[:2]), 0
        each = [
            compute(*(a.select(d, i) if b else a for a, d, b in zip(arguments, in_dims, batched, strict=True)))
            for i in range(info.batch_size)
        ]
        return torch.stack(each), 0

    return rule


for _name, _schema in SCHEMAS.items():
    _op = f"bs_{_name}"
    _library.define(f"{_op}{_schema} -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
    for _key in ("CPU", "CUDA"):
        _library.impl(_op, _compute(_name), _key)
    torch.library.register_fake(f"cannon::{_op}", globals()[f"_{_name}"], lib=_library)
    torch.library.register_vmap(f"cannon::{_op}", _batched(_op), lib=_library)
