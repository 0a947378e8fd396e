"""Where the outputs of block-sparse convolutions, which are channels_last, become contiguous again, as the model's are.

Right behind each convolution would always do, at the price of two copies between any two of them. What follows mostly
takes either layout, so the copy moves on to where it matters: to views, and to the graph's outputs.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.fx import GraphModule, Node

from cannon_fx.kernels import ops as ops  # registers the op

BS_CONV2D = torch.ops.cannon.bs_conv2d.default
EITHER = {
    *(torch.conv2d, F.batch_norm, F.dropout),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate),
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardtanh, F.hardswish, F.hardsigmoid),
    *(torch.relu, torch.sigmoid, torch.tanh, torch.add, torch.mul, operator.add, operator.iadd, operator.mul),
}
"""Calls that compute the same of either layout, into one of them"""
VIEWS = {torch.flatten, "flatten", "view", "reshape"}
"""Calls that look at an input's layout, and may give it another name"""


def contiguous_where_it_matters(graph: GraphModule, convolutions: Sequence[Node]) -> None:
    """`convolutions` are calls of `graph` whose outputs the model has contiguous, and which give channels_last."""
    readers: dict[Node, set[Node]] = {}
    for convolution in convolutions:
        found = _readers(convolution)
        for made, users in ({convolution: set(convolution.users)} if found is None else found).items():
            readers.setdefault(made, set()).update(users)
    for made, users in readers.items():
        with graph.graph.inserting_after(made):
            copy = graph.graph.call_method("contiguous", (made,))
        copy.meta = dict(made.meta)
        for user in users:
            user.replace_input_with(made, copy)


def _readers(convolution: Node) -> dict[Node, set[Node]] | None:
    """Which values further on are to be made contiguous, for whom.

    None where a call is unknown that meets one, or where a copy might miss what is written to another name of it.
    """
    found: dict[Node, set[Node]] = {}
    seen, waiting = {convolution}, [convolution]
    while waiting:
        made = waiting.pop()
        for user in made.users:
            if len(made.users) > 1 and (user.target in VIEWS or _writes(user)):
                return None
            if user.target is BS_CONV2D:
                continue  # takes either; its output is another of the convolutions
            if user.target in EITHER:
                if user not in seen:
                    seen.add(user)
                    waiting.append(user)
            elif user.op == "output" or user.target in VIEWS:
                found.setdefault(made, set()).add(user)
            else:
                return None
    return {made: users for made, users in found.items() if made.meta["example_value"].is_contiguous()}


def _writes(call: Node) -> bool:
    """Whether it may write its input."""
    return call.target is operator.iadd or bool(call.kwargs.get("inplace")) or True in call.args
