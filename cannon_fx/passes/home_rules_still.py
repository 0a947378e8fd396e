"""Movement and pointwise ops: where elements keep their values, or meet element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cannon_fx.passes.home_calls import Call, Operand, Outcome, Rule, Transfer
from cannon_fx.passes.home_tensors import CONSTANT, active, along, compact, everywhere, filled, merged, reshape


def moved_as(op: Callable[..., Any]) -> Rule:
    """Movement: run `op` on the homes. Views of values are views of homes."""

    def rule(call: Call) -> Outcome | None:
        return Outcome(op(*call.args, **call.kwargs))

    return rule


def rearranged(op: Callable[..., Any]) -> Rule:
    """Movement into new memory, which may leave zeros: those are constants."""

    def rule(call: Call) -> Outcome | None:
        # Not every op has a kernel for integers, and what it fills in is 0.
        args = [(arg - CONSTANT).double() if isinstance(arg, Tensor) else arg for arg in call.args]
        return Outcome(compact(op(*args, **call.kwargs).to(torch.int32) + CONSTANT))

    return rule


def padded(call: Call) -> Outcome | None:
    """What a pad adds is constant, or copies of the border."""
    mode = call.get("mode") or "constant"
    home = F.pad((call.args[0] - CONSTANT).double(), call.get("pad"), mode)
    return Outcome(compact(home.to(torch.int32) + CONSTANT))


def reshaped(call: Call) -> Outcome | None:
    """The same elements in the same order under another shape."""
    if call.args[0].numel() != call.value.numel():  # bytes read as another type
        return None
    return Outcome(reshape(call.args[0], call.value.shape))


def restrided(call: Call) -> Outcome | None:
    """as_strided reads memory, which is laid out as the value is; only where that is in order."""
    value = call.nodes[0].meta["val"]
    if not value.is_contiguous() or value.storage_offset():
        return None
    return Outcome(torch.as_strided(call.args[0].contiguous(), *call.args[1:], **call.kwargs))


def joined(call: Call) -> Outcome | None:
    """Concatenation: what is joined stays where it is."""
    homes = [home for home in call.args[0] if home.dim() == call.value.dim()]  # [] may be joined with anything
    dimension = call.get("dim")
    return Outcome(along(lambda narrow: torch.cat(narrow, dimension), homes, [dimension]))


def stacked(call: Call) -> Outcome | None:
    """Concatenation along a new dimension."""
    dimension = call.get("dim")
    homes = [home.unsqueeze(dimension) for home in call.args[0]]
    return Outcome(along(lambda narrow: torch.cat(narrow, dimension), homes, [dimension]))


def turned(op: Callable[..., Any]) -> Rule:
    """Roll, flip: the shape stays."""

    def rule(call: Call) -> Outcome | None:
        return Outcome(along(lambda narrow: op(narrow[0], *call.args[1:], **call.kwargs), [call.args[0]], []))

    return rule


def still(call: Call) -> Outcome | None:
    """Every element stays where it is: casts, copies, dropout, normalisation with stored statistics."""
    home = call.args[0]
    if isinstance(call.value, (list, tuple)):  # with a mask of the same shape, or empty statistics
        return Outcome([home if item.shape == home.shape else filled(item, CONSTANT) for item in call.value])
    return Outcome(home.expand(call.value.shape))


def made_here(call: Call) -> Outcome | None:
    """Values made from nothing (zeros_like): constants."""
    return Outcome(filled(call.value, CONSTANT))


def looked_up(call: Call) -> Outcome | None:
    """embedding: a row of a constant table appears where its number is."""
    if active(call.args[0]):
        return None
    return Outcome(call.args[1].unsqueeze(-1).expand(call.value.shape))


def spread(call: Call) -> Outcome | None:
    """one_hot, view_as_real: an element becomes several, along a new last dimension."""
    return Outcome(call.args[0].unsqueeze(-1).expand(call.value.shape))


def meet(operands: Sequence[Operand], shape: Sequence[int]) -> tuple[Tensor, list[Transfer]]:
    """Where operands that broadcast to `shape` meet: at the largest that is no constant, the first of equals."""
    order = sorted(operands, key=lambda operand: -operand.home.numel())
    result = everywhere(CONSTANT, shape)
    for _, home in order:
        result = merged(result, home, shape)
    return result, [
        Transfer(node, home.reshape((1,) * (len(shape) - home.dim()) + tuple(home.shape)), result)
        for node, home in operands
    ]


def pointwise(call: Call) -> Outcome | None:
    """Element by element: the result is where the largest operand is, and the others' elements go there."""
    homes, transfers = meet(call.activations, call.first_value.shape)
    return Outcome(call.every(homes), transfers)


def chosen(call: Call) -> Outcome | None:
    """where(condition, x, y): pointwise, but the condition goes to the values."""
    if not isinstance(call.value, Tensor):  # where(condition) alone: indices whose number is not known
        return None
    homes, transfers = meet(sorted(call.activations, key=lambda o: o.node is call.node.args[0]), call.value.shape)
    return Outcome(homes, transfers)


def assigned(call: Call) -> Outcome | None:
    """x[...] = y: y stays where it is, as a part of x."""
    return Outcome(call.args[1].expand(call.value.shape))
