"""Networks for any batch or sequence length: captured once, with symbols for those sizes, and planned at given ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves, tree_map

from cannon_fx.capture import arguments_for, check_parameters, export
from cannon_fx.errors import CaptureError
from cannon_fx.inputs import Arguments

Sizes = Mapping[sympy.Symbol, int]


@dataclass(frozen=True, eq=False)
class DynamicProgram:
    """`program` has symbols for sizes; `example` are their values in `arguments`, which hold one sample.

    The batch's symbol, if it has one, is not among them: costs are of one sample.
    """

    program: ExportedProgram
    arguments: Arguments
    example: Sizes
    batch: sympy.Symbol | None

    def at(self, sizes: Sizes) -> ExportedProgram:
        """The program for one sample of these sizes."""
        values = {**sizes} if self.batch is None else {**sizes, self.batch: 1}
        graph = copy.deepcopy(self.program.graph)
        for node, own in zip(graph.nodes, self.program.graph.nodes, strict=True):
            node.name = own.name  # a copy renames what is called as a builtin
            if "val" in node.meta:
                node.meta["val"] = tree_map(lambda leaf: _known(leaf, values), node.meta["val"])
        program = self.program
        return ExportedProgram(
            GraphModule(program.graph_module, graph),
            graph,
            program.graph_signature,
            program.state_dict,
            {},
            program.module_call_graph,
            self.arguments,
            program.constants,
        )

    def bounds(self, symbol: sympy.Symbol) -> tuple[int, float]:
        """The least and the largest size that the program takes; below 2, sizes may broadcast."""
        found = self.program.range_constraints[symbol]
        upper = found.upper
        return max(2, int(found.lower)), float(upper) if upper.is_finite else float("inf")


def capture_dynamic(
    model: nn.Module, example_inputs: Any, batch_dim: int | None, dynamic_shapes: Any
) -> DynamicProgram:
    """Captures `model` with the sizes open that `dynamic_shapes` names, as torch.export takes it; else as `capture`.

    Raises CaptureError when the network fixes such a size, and when no size stays open.
    """
    check_parameters(model)
    one = arguments_for(model, example_inputs, batch_dim)
    # torch.export takes a size of 1 for a constant.
    program = export(model, arguments_for(model, example_inputs, batch_dim, samples=2), dynamic_shapes)
    batch = _batch(program, batch_dim)
    if batch is None:
        program = export(model, one, dynamic_shapes)
    example = {symbol: size for symbol, size in _example(program, one).items() if symbol != batch}
    if not example and batch is None:
        raise CaptureError(
            f"no size of {type(model).__name__}'s inputs stays open with dynamic_shapes = {dynamic_shapes!r}. Mark "
            "one, as for torch.export.export, or leave dynamic_shapes out."
        )
    return DynamicProgram(program, one, example, batch)


def _inputs(program: ExportedProgram) -> list[Tensor]:
    """The tensors among them."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values[name] for name in program.graph_signature.user_inputs if isinstance(name, str)]
    return [value for value in inputs if isinstance(value, Tensor)]


def _batch(program: ExportedProgram, batch_dim: int | None) -> sympy.Symbol | None:
    """The symbol of the batch; None where it is closed."""
    if batch_dim is None or not (inputs := _inputs(program)):
        return None
    size = inputs[0].shape[batch_dim]
    return None if isinstance(size, int) else size.node.expr


def _example(program: ExportedProgram, arguments: Arguments) -> dict[sympy.Symbol, int]:
    """The value of every symbol in the arguments' shapes."""
    given = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
    found: dict[sympy.Symbol, int] = {}
    for tensor, value in zip(given, _inputs(program), strict=True):
        for size, open_size in zip(tensor.shape, value.shape, strict=True):
            if not isinstance(open_size, int):
                expression = open_size.node.expr  # a symbol, or one times a number
                (symbol,) = expression.free_symbols
                found[symbol] = int(sympy.solve(expression - size, symbol)[0])
    return found


def _known(leaf: Any, sizes: Mapping[sympy.Symbol, Any]) -> Any:
    """A size, or a tensor of such sizes, without symbols."""
    if isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        value = leaf.node.expr.xreplace(dict(sizes))
        kind = int if isinstance(leaf, torch.SymInt) else float if isinstance(leaf, torch.SymFloat) else bool
        return kind(value)
    if not isinstance(leaf, Tensor):
        return leaf
    shape, stride = ([_known(size, sizes) for size in numbers] for numbers in (leaf.shape, leaf.stride()))
    return torch.empty_strided(shape, stride, dtype=leaf.dtype, device="meta")
