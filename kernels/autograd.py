"""Gradients of the block-sparse ops, of any order.

Forward, input gradient and weight gradient are the three sides of one trilinear form <grad_out, op(x, weight)>: the
derivatives of each are the other two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from .window import Window

_ops = torch.ops.cannon


class Call(NamedTuple):
    """All that a call has beside the tensors of the form. Without a window it is a linear layer's."""

    row_start: Tensor
    row_group: Tensor
    col_start: Tensor
    col_block: Tensor
    col_slot: Tensor
    block_of: Tensor
    sizes: tuple[int, int, int, int]
    packed: bool
    window: Window | None = None
    size: tuple[int, int] = (1, 1)
    """(H, W) of the input"""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
        lists = self.row_start, self.row_group, self.block_of, self.sizes
        if self.window is None:
            return _ops.bs_linear(x, weight, bias, *lists, activation)
        return _ops.bs_conv2d(x, weight, bias, *lists, *self.window, activation)

    def grad_input(self, grad_out: Tensor, weight: Tensor) -> Tensor:
        lists = self.col_start, self.col_block, self.col_slot, self.sizes
        if self.window is None:
            return _ops.bs_linear_grad_input(grad_out, weight, *lists)
        return _ops.bs_conv2d_grad_input(grad_out, weight, *lists, *self.window, *self.size)

    def grad_weight(self, grad_out: Tensor, x: Tensor) -> Tensor:
        if self.window is None:
            return _ops.bs_linear_grad_weight(grad_out, x, self.block_of, self.sizes, self.packed)
        return _ops.bs_conv2d_grad_weight(grad_out, x, self.block_of, self.sizes, *self.window, self.packed)


class _Form(Function):
    """What the three sides share: they keep their two tensors and the call, and run under torch.func as they are."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.call = inputs[2]


class Forward(_Form):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, call: Call, bias: Tensor | None, activation: str) -> Tensor:
        return call.forward(x, weight, bias, activation)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, _, need_bias, _ = ctx.needs_input_grad
        rows = [d for d in range(grad.dim()) if d != 1]
        return (
            grad_input(grad, weight, ctx.call) if need_x else None,
            grad_weight(grad, x, ctx.call) if need_weight else None,
            None,
            grad.sum(rows) if need_bias else None,
            None,
        )


class GradInput(_Form):
    @staticmethod
    def forward(grad_out: Tensor, weight: Tensor, call: Call) -> Tensor:
        return call.grad_input(grad_out, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_out, weight = ctx.saved_tensors
        need_grad_out, need_weight, _ = ctx.needs_input_grad
        return (
            forward(grad, weight, ctx.call, None, "none") if need_grad_out else None,
            grad_weight(grad_out, grad, ctx.call) if need_weight else None,
            None,
        )


class GradWeight(_Form):
    @staticmethod
    def forward(grad_out: Tensor, x: Tensor, call: Call) -> Tensor:
        return call.grad_weight(grad_out, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_out, x = ctx.saved_tensors
        need_grad_out, need_x, _ = ctx.needs_input_grad
        return (
            forward(x, grad, ctx.call, None, "none") if need_grad_out else None,
            grad_input(grad_out, grad, ctx.call) if need_x else None,
            None,
        )


def traced() -> bool:
    """Whether a compiler or a transform of torch.func looks on, which has to see the ops."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def forward(x: Tensor, weight: Tensor, call: Call, bias: Tensor | None, activation: str) -> Tensor:
    """The op. The activation must be "none" where a gradient is wanted."""
    if not (torch.is_grad_enabled() or traced()):
        return call.forward(x, weight, bias, activation)  # Function.apply alone takes 60 us
    return Forward.apply(x, weight, call, bias, activation)  # type: ignore[no-untyped-call]


def grad_input(grad_out: Tensor, weight: Tensor, call: Call) -> Tensor:
    """Its gradient for x."""
    return GradInput.apply(grad_out, weight, call)  # type: ignore[no-untyped-call]


def grad_weight(grad_out: Tensor, x: Tensor, call: Call) -> Tensor:
    """Its gradient for the weight."""
    return GradWeight.apply(grad_out, x, call)  # type: ignore[no-untyped-call]
