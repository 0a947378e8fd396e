"""What a rule sees and says: a call of an op on homes, and where its result is and what has to travel for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from cannon_fx.passes.home_tensors import active


class Operand(NamedTuple):
    """A tensor that an op reads: the node that makes it, and its homes."""

    node: Node
    home: Tensor


class Transfer(NamedTuple):
    """Elements of `operand` on tiles `source` that are needed on tiles `target`; the two broadcast.

    An element goes once to each tile that needs it, however often it is used there. Along `combined` a tile
    brings its elements down to one before it sends them: partial results. `times` such transfers take place.
    """

    operand: Node
    source: Tensor
    target: Tensor
    combined: tuple[int, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Outcome:
    """Homes of an op's result, in the result's structure, and the transfers that bring its operands together."""

    homes: Any
    transfers: list[Transfer] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """A node of the graph, and the homes of every node before it."""

    node: Node
    homes: Mapping[Node, Any]

    @property
    def nodes(self) -> Any:
        """The node's arguments as they are in the graph."""
        return self.node.args

    @cached_property
    def args(self) -> Any:
        """The node's arguments with homes instead of tensors."""
        return map_arg(self.node.args, lambda operand: self.homes[operand])

    @cached_property
    def kwargs(self) -> Any:
        return map_arg(self.node.kwargs, lambda operand: self.homes[operand])

    @property
    def value(self) -> Any:
        """The node's result, a fake tensor: its shape is known, its elements are not."""
        return self.node.meta.get("val")

    @property
    def first_value(self) -> Tensor:
        """The result, or the first of several."""
        return self.value[0] if isinstance(self.value, (list, tuple)) else self.value

    @cached_property
    def operands(self) -> list[Operand]:
        """Tensor operands in the order of the arguments, each once."""
        found = [Operand(node, self.homes[node]) for node in self.node.all_input_nodes]
        return [operand for operand in found if isinstance(operand.home, Tensor)]

    @cached_property
    def activations(self) -> list[Operand]:
        """The operands that depend on the network's input."""
        return [operand for operand in self.operands if active(operand.home)]

    def _find(self, name: str, args: Any, kwargs: Any) -> Any:
        for place, argument in enumerate(self.node.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name == name:
                return args[place] if place < len(args) else kwargs.get(name, argument.default_value)
        return None

    def get(self, name: str) -> Any:
        """The argument `name` of the op's schema, with homes instead of tensors; None where there is no such."""
        return self._find(name, self.args, self.kwargs)

    def operand(self, name: str) -> Operand | None:
        """The tensor given as argument `name`."""
        node = self._find(name, self.node.args, self.node.kwargs)
        return Operand(node, self.homes[node]) if isinstance(node, Node) else None

    def every(self, home: Tensor) -> Any:
        """`home`, broadcast to the result's shape; for each of several results."""
        if isinstance(self.value, (list, tuple)):
            return [home.expand(item.shape) for item in self.value]
        return home.expand(self.value.shape)


Rule = Callable[[Call], Outcome | None]
"""None: the rule does not cover this call."""
