"""Ops along lines: reductions, normalisations, and whatever needs all elements of a line in one place.

A line is what an op mixes: all elements that differ only in the op's own dimensions. It begins at its first
element that is no constant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cannon_fx.passes.home_calls import Call, Operand, Outcome, Rule, Transfer
from cannon_fx.passes.home_tensors import head, merged

Dimensions = Callable[[Call], Sequence[int]]
"""Which dimensions of the first argument an op mixes."""


def given(call: Call) -> Sequence[int]:
    """The argument `dim`, one or several; all dimensions where it is not given."""
    dim = call.get("dim")
    if dim is None or dim == []:
        return range(call.args[0].dim())
    return [dim] if isinstance(dim, int) else dim


def last(number: int) -> Dimensions:
    """The last `number` dimensions."""
    return lambda call: range(-number, 0)


def named(call: Call) -> Sequence[int]:
    """The last 1, 2 or 3 dimensions: of max_pool2d the last two."""
    return last(int(re.findall(r"(\d)d", str(call.node.target))[-1]))(call)


def normalized_shape(call: Call) -> Sequence[int]:
    return last(len(call.get("normalized_shape")))(call)


def pixels(call: Call) -> Sequence[int]:
    """All dimensions behind the channels."""
    return range(2, call.args[0].dim())


def gather(operand: Operand, dimensions: Sequence[int]) -> tuple[Tensor, list[Transfer]]:
    """Where the operand's lines begin (size 1 along them), and the way of their other elements to that place."""
    begins = head(operand.home, dimensions)
    return begins, [Transfer(operand.node, operand.home, begins)]


def result_of(call: Call, begins: Tensor, dimensions: Sequence[int]) -> Any:
    """Homes of a result whose lines have become shorter, longer or, without keepdim, nothing."""
    if call.first_value.dim() < begins.dim():
        for dimension in sorted((d % begins.dim() for d in dimensions), reverse=True):
            begins = begins.squeeze(dimension)
    return call.every(begins)


def together(dimensions_of: Dimensions) -> Rule:
    """A line's elements come together where it begins; the result is there: windows, sort, cumsum, fft."""

    def rule(call: Call) -> Outcome | None:
        dimensions = dimensions_of(call)
        begins, transfers = gather(call.operands[0], dimensions)
        return Outcome(result_of(call, begins, dimensions), transfers)

    return rule


def reduced(call: Call) -> Outcome | None:
    """Sum, mean, max: a tile reduces what it holds of a line and sends one number to where the line begins."""
    operand, dimensions = call.operands[0], given(call)
    begins = head(operand.home, dimensions)
    partial = Transfer(operand.node, operand.home, begins, tuple(d % max(1, operand.home.dim()) for d in dimensions))
    return Outcome(result_of(call, begins, dimensions), [partial])


def statistics(operand: Operand, dimensions: Sequence[int], number: int) -> tuple[Tensor, list[Transfer]]:
    """Elements stay; `number` partial statistics go to where the line begins and come back as the line's own."""
    begins = head(operand.home, dimensions)
    combined = tuple(d % operand.home.dim() for d in dimensions)
    return merged(operand.home, begins, operand.home.shape), [
        Transfer(operand.node, operand.home, begins, combined, number),
        Transfer(operand.node, begins, operand.home, (), number),
    ]


def normalised(number: int, dimensions_of: Dimensions = given) -> Rule:
    """Softmax, layer norm: see `statistics`. Further results are the statistics, where the line begins."""

    def rule(call: Call) -> Outcome | None:
        operand, dimensions = call.operands[0], dimensions_of(call)
        home, transfers = statistics(operand, dimensions, number)
        if isinstance(call.value, (list, tuple)):
            begins = head(operand.home, dimensions)
            return Outcome([home, *(begins.expand(item.shape) for item in call.value[1:])], transfers)
        return Outcome(home, transfers)

    return rule


def group_normalised(call: Call) -> Outcome | None:
    """Group norm: a line is a group of channels with all its pixels."""
    operand, groups = call.operands[0], call.get("num_groups")
    grouped = Operand(operand.node, operand.home.unflatten(1, (groups, -1)))
    home, transfers = statistics(grouped, range(2, grouped.home.dim()), 2)
    return Outcome(home.flatten(1, 2), transfers)


def folded(call: Call) -> Outcome | None:
    """col2im sums patches [batch, channels x taps, patches] to an image: a line is all that a channel is made of."""
    operand, channels = call.operands[0], call.value.shape[1]
    begins, transfers = gather(Operand(operand.node, operand.home.unflatten(1, (channels, -1))), [2, 3])
    return Outcome(begins.expand(call.value.shape), transfers)


def picked(call: Call) -> Outcome | None:
    """gather, index_select: nobody knows which elements, so the line comes together; the indices go there."""
    operand, dimension = call.operands[0], call.get("dim")
    begins, transfers = gather(operand, [dimension])
    index = call.operand("index")
    assert index is not None
    for d in range(begins.dim()):
        if begins.shape[d] > 1:  # gather may leave lines out at the end
            begins = begins.narrow(d, 0, call.value.shape[d])
    place = index.home
    if place.dim() < begins.dim():
        place = place.view([-1 if d == dimension % begins.dim() else 1 for d in range(begins.dim())])
    homes = merged(begins, place, call.value.shape)
    return Outcome(homes, [*transfers, Transfer(index.node, place, homes)])


def indexed(call: Call) -> Outcome | None:
    """x[i, :, j]: as `picked`, along all dimensions that have an index."""
    operand, indices, nodes = call.operands[0], call.args[1], call.nodes[1]
    dimensions = [d for d, index in enumerate(indices) if index is not None]
    if any(nodes[d].meta["val"].dtype == torch.bool for d in dimensions):
        return None  # how many elements a mask leaves is not known
    begins, transfers = gather(operand, dimensions)
    shape = torch.broadcast_shapes(*(indices[d].shape for d in dimensions))
    neighbours = dimensions[-1] - dimensions[0] == len(dimensions) - 1
    # The indices' own dimensions are in the result where theirs were if they are neighbours, else in front.
    in_front = dimensions[0] if neighbours else 0
    rest = [size for d, size in enumerate(begins.shape) if d not in dimensions]
    for d in reversed(dimensions):
        begins = begins.squeeze(d)
    behind = (1,) * (len(rest) - in_front)
    begins = begins.reshape(*rest[:in_front], *(1,) * len(shape), *rest[in_front:])
    homes, index_transfers = begins.expand(call.value.shape), []
    for d in dimensions:
        place = indices[d].reshape(*indices[d].shape, *behind)
        place = place[(None,) * (homes.dim() - place.dim())]
        homes = merged(homes, place, call.value.shape)
        index_transfers.append((nodes[d], place))
    return Outcome(homes, [*transfers, *(Transfer(node, place, homes) for node, place in index_transfers)])
