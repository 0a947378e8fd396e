"""Ops that multiply activations by one weight matrix, and which of their arguments is which."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.fx import Node

aten = torch.ops.aten


class MatrixOp(NamedTuple):
    """`input` and `weight` are positions among the op's arguments."""

    kind: str
    input: int = 0
    weight: int = 1


MATRIX_OPS: dict[object, MatrixOp] = {
    aten.linear.default: MatrixOp("linear"),
    aten.addmm.default: MatrixOp("linear", 1, 2),  # bias, input, weight as [in, out]
    aten.conv1d.default: MatrixOp("conv1d"),
    aten.conv1d.padding: MatrixOp("conv1d"),
    aten.conv2d.default: MatrixOp("conv2d"),
    aten.conv2d.padding: MatrixOp("conv2d"),
    aten.conv3d.default: MatrixOp("conv3d"),
    aten.conv_transpose1d.default: MatrixOp("conv_transpose1d"),
    aten.conv_transpose2d.input: MatrixOp("conv_transpose2d"),
    aten.conv_transpose3d.input: MatrixOp("conv_transpose3d"),
}


def input_of(node: Node) -> Node:
    """The activations that a node of `MATRIX_OPS` multiplies."""
    return _operand(node, MATRIX_OPS[node.target].input)


def weight_of(node: Node) -> Node:
    """The matrix that it multiplies them by."""
    return _operand(node, MATRIX_OPS[node.target].weight)


def weight_shape(node: Node) -> tuple[int, ...]:
    """Of that matrix as [out, in, *taps], which is not how addmm takes it."""
    shape = tuple(weight_of(node).meta["val"].shape)
    return shape[::-1] if node.target is aten.addmm.default else shape


def _operand(node: Node, position: int) -> Node:
    operand = node.args[position]
    assert isinstance(operand, Node), "tensors of a graph are its nodes"
    return operand
