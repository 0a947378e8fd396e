"""The op table: how each op's result finds its home, and which operands' elements it brings there.

`RULES[op]` is the specification. Ops that only move data run on the home tensor itself, so they are exact
by construction; pointwise ops keep the home of their first operand; windows and reductions stay where
their channel is. A rule returns None where it does not apply; then the fallback of the Homes pass does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

CONSTANT = -2
"""Home of values that no activation reaches: parameters, buffers, literals. They are where they are needed."""

aten = torch.ops.aten


@dataclass(frozen=True)
class Gathering:
    """An op's result homes, and (operand, its homes, where its elements are needed) for what it brings together.

    The third entry may be larger than the second, where an operand is broadcast.
    """

    homes: Any
    gathered: list[tuple[Node, Tensor, Tensor]] = field(default_factory=list)


Rule = Callable[[Node, Any, Any], Gathering | None]


def uniform_over(home: Tensor, dimension: int) -> bool:
    """True where homes do not change along `dimension`."""
    if home.shape[dimension] <= 1 or home.stride(dimension) == 0:
        return True
    return bool((home == home.narrow(dimension, 0, 1)).all())


def movement(op: Callable[..., Any]) -> Rule:
    """An op that only moves data: run `op` on the homes."""

    def rule(node: Node, args: Any, kwargs: Any) -> Gathering | None:
        return Gathering(op(*args, **kwargs))

    return rule


def pointwise(node: Node, args: Any, kwargs: Any) -> Gathering | None:
    """Result at the home of the first operand that is no constant; the others' elements go there."""
    value = node.meta["val"]
    operands = [(n, h) for n, h in zip(node.args, args, strict=True) if isinstance(n, Node) and isinstance(h, Tensor)]
    if not isinstance(value, Tensor) or not operands:
        return None
    shape = value.shape
    result = operands[0][1].expand(shape)
    for _, home in operands[1:]:
        if bool((result == CONSTANT).any()):
            result = torch.where(result == CONSTANT, home.expand(shape), result)
    gathered = [(n, home.reshape((1,) * (len(shape) - home.dim()) + tuple(home.shape)), result) for n, home in operands]
    return Gathering(result, gathered)


def channelwise(node: Node, args: Any, kwargs: Any) -> Gathering | None:
    """Normalisation with stored statistics, and dropout: an element stays where it is."""
    return Gathering(args[0])


def window(node: Node, args: Any, kwargs: Any) -> Gathering | None:
    """Pooling and resizing over the last two dimensions of one operand, where homes do not vary over them."""
    value, home = node.meta["val"], args[0]
    first = value[0] if isinstance(value, (list, tuple)) else value
    for dimension in (home.dim() - 2, home.dim() - 1):
        if not uniform_over(home, dimension):
            return None
        home = home.narrow(dimension, 0, 1)
    result = home.expand(first.shape)
    return Gathering([result] * len(value) if isinstance(value, (list, tuple)) else result)


def reduction(node: Node, args: Any, kwargs: Any) -> Gathering | None:
    """Sum, mean, max over dimensions along which homes do not vary."""
    home, value = args[0], node.meta["val"]
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    if not isinstance(value, Tensor) or dims is None:
        return None
    reduced = sorted(d % home.dim() for d in ([dims] if isinstance(dims, int) else dims))
    for dimension in reversed(reduced):
        if not uniform_over(home, dimension):
            return None
        home = home.narrow(dimension, 0, 1)
    if value.dim() < home.dim():
        for dimension in reversed(reduced):
            home = home.squeeze(dimension)
    return Gathering(home)


def made_here(node: Node, args: Any, kwargs: Any) -> Gathering | None:
    """Values made from nothing (zeros, arange): constants. Not expanded, so that they can be assigned to."""
    value = node.meta["val"]
    return Gathering(torch.full(value.shape, CONSTANT, dtype=torch.int32)) if isinstance(value, Tensor) else None


def assignment(node: Node, args: Any, kwargs: Any) -> Gathering | None:
    """x[...] = y: y stays where it is, as a part of x. Views of homes are views, so x's own homes change too."""
    target, value = args[0], args[1]
    if any(stride == 0 and size > 1 for stride, size in zip(target.stride(), target.shape, strict=True)):
        return None
    return Gathering(target.copy_(value))


def _reshape(home: Tensor, shape: Any) -> Tensor:
    return home.reshape(shape)


def _pad(home: Tensor, pad: Any, mode: str = "constant", *_: Any, **__: Any) -> Tensor:
    if mode == "constant":
        return torch.nn.functional.pad(home, pad, value=CONSTANT)
    return torch.nn.functional.pad(home.double(), pad, mode=mode).to(home.dtype)  # no integer kernel for these


MOVED_AS: dict[Any, Callable[..., Any]] = {
    operator.getitem: operator.getitem,
    aten.view.default: _reshape,
    aten.reshape.default: _reshape,
    aten._unsafe_view.default: _reshape,
    aten.constant_pad_nd.default: lambda home, pad, *_: _pad(home, pad),
    aten.pad.default: _pad,
}

MOVEMENT: dict[Any, Callable[..., Any]] = MOVED_AS | {
    op: op
    for op in (
        aten.flatten.using_ints,
        aten.unflatten.int,
        aten.permute.default,
        aten.transpose.int,
        aten.t.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.squeeze_.dim,
        aten.unsqueeze.default,
        aten.unsqueeze_.default,
        aten.expand.default,
        aten.repeat.default,
        aten.slice.Tensor,
        aten.select.int,
        aten.narrow.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.chunk.default,
        aten.unbind.int,
        aten.cat.default,
        aten.stack.default,
        aten.flip.default,
        aten.roll.default,
        aten.clone.default,
        aten.contiguous.default,
        aten.alias.default,
        aten.detach.default,
        aten.detach_.default,
        aten.lift_fresh_copy.default,
        aten.pixel_shuffle.default,
        aten.pixel_unshuffle.default,
        aten.channel_shuffle.default,
    )
}

POINTWISE = (
    *(aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.sub_.Tensor, aten.rsub.Scalar),
    *(aten.mul.Tensor, aten.mul_.Tensor, aten.div.Tensor, aten.div_.Tensor, aten.add.Scalar, aten.mul.Scalar),
    *(aten.maximum.default, aten.minimum.default, aten.pow.Tensor_Scalar, aten.sqrt.default, aten.rsqrt.default),
    *(aten.relu.default, aten.relu_.default, aten.relu6.default, aten.relu6_.default),
    *(aten.leaky_relu.default, aten.leaky_relu_.default, aten.elu.default, aten.elu_.default, aten.prelu.default),
    *(aten.gelu.default, aten.silu.default, aten.silu_.default, aten.mish.default, aten.softplus.default),
    *(aten.sigmoid.default, aten.sigmoid_.default, aten.tanh.default, aten.tanh_.default),
    *(aten.hardtanh.default, aten.hardtanh_.default, aten.hardsigmoid.default, aten.hardswish.default),
    *(aten.hardswish_.default, aten.clamp.default, aten.clamp_.default, aten.clamp_min.default),
    *(aten.abs.default, aten.neg.default, aten.exp.default, aten.log.default),
    *(aten.to.dtype, aten.to.dtype_layout, aten._to_copy.default),
)

CHANNELWISE = (
    *(aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default),
    *(aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default, aten.alpha_dropout.default),
)

WINDOW = (
    *(aten.max_pool2d.default, aten.max_pool2d_with_indices.default, aten.avg_pool2d.default),
    *(aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default),
    *(aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.vec),
)

REDUCTION = (aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default)

MADE_HERE = (
    *(aten.zeros.default, aten.ones.default, aten.full.default, aten.arange.default, aten.arange.start),
    *(aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.scalar_tensor.default),
)

RULES: dict[Any, Rule] = (
    {target: movement(op) for target, op in MOVEMENT.items()}
    | dict.fromkeys(POINTWISE, pointwise)
    | dict.fromkeys(CHANNELWISE, channelwise)
    | dict.fromkeys(WINDOW, window)
    | dict.fromkeys(REDUCTION, reduction)
    | dict.fromkeys(MADE_HERE, made_here)
    | {aten.copy_.default: assignment}
)
