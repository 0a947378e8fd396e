"""Products: two activations multiplied along a dimension, and weights that are off the crossbars.

Each runs where its row begins: the elements of the first operand's row come together at the home of its first
element, the second operand's elements that the row meets travel there, and the result stays.
"""

from __future__ import annotations

from torch import Tensor

from cannon_fx.passes.home_calls import Call, Operand, Outcome, Transfer
from cannon_fx.passes.home_rules_lines import statistics
from cannon_fx.passes.home_rules_still import meet
from cannon_fx.passes.home_tensors import head, merged, reshape


def product(a: Operand, b: Operand) -> tuple[Tensor, list[Transfer]]:
    """a [..., m, k] x b [..., k, n], broadcast in front: homes [..., m, n].

    Where a whole row of `a` is constant, the result is where b's column begins.
    """
    rows, columns = head(a.home, [-1]), head(b.home, [-2])
    front = [max(x, y) for x, y in zip(_front(a, b), _front(b, a), strict=True)]
    result = merged(rows, columns, [*front, rows.shape[-2], columns.shape[-1]])
    needed = result.unsqueeze(-2)  # [..., m, 1, n]
    return result, [Transfer(a.node, a.home.unsqueeze(-1), needed), Transfer(b.node, b.home.unsqueeze(-3), needed)]


def _front(a: Operand, b: Operand) -> list[int]:
    """Dimensions in front of the matrix, as many as the longer of the two has."""
    return [1] * (b.home.dim() - a.home.dim()) + list(a.home.shape[:-2])


def matrix_product(call: Call) -> Outcome | None:
    """matmul, mm, bmm, mv, dot."""
    a, b = (Operand(node, home) for node, home in zip(call.nodes, call.args, strict=True))
    left = a if a.home.dim() > 1 else Operand(a.node, a.home.unsqueeze(0))
    right = b if b.home.dim() > 1 else Operand(b.node, b.home.unsqueeze(1))
    homes, transfers = product(left, right)
    return Outcome(reshape(homes, call.value.shape), transfers)


def added_product(call: Call) -> Outcome | None:
    """addmm, baddbmm(c, a, b): c goes to where the product is."""
    c, a, b = (Operand(node, home) for node, home in zip(call.nodes[:3], call.args[:3], strict=True))
    homes, transfers = product(a, b)
    result, more = meet([Operand(a.node, homes), c], call.value.shape)
    return Outcome(result, transfers + more[1:])


def linear(call: Call) -> Outcome | None:
    """A linear layer off the crossbars: x [..., k] x weight [n, k]; a row is a position's features."""
    x, weight = call.operand("input"), call.operand("weight")
    assert x is not None
    assert weight is not None
    row = Operand(x.node, x.home.unsqueeze(-2))  # [..., 1, k]
    homes, transfers = product(row, Operand(weight.node, weight.home.t()))
    return Outcome(homes.squeeze(-2), transfers)


def convolution(call: Call) -> Outcome | None:
    """A convolution off the crossbars: a row is all channels of a group, with all their pixels."""
    x, weight = call.operand("input"), call.operand("weight")
    assert x is not None
    assert weight is not None
    space = weight.home.dim() - 2
    batched = x.home if x.home.dim() == space + 2 else x.home.unsqueeze(0)
    groups = call.get("groups")
    grouped = batched.unflatten(1, (groups, -1))  # [batch, group, channel of the group, *space]
    begins = head(grouped, range(2, grouped.dim()))
    channels = call.value.shape[-space - 1] // groups
    result = begins.expand(*begins.shape[:2], channels, *call.value.shape[-space:]).flatten(1, 2)
    transfers = [Transfer(x.node, grouped, begins)]
    kernel = weight.home.unflatten(0, (groups, -1)).unsqueeze(0)  # [1, group, 2 dimensions of channels, *taps]
    transfers.append(Transfer(weight.node, kernel, begins.unsqueeze(2)))
    return Outcome(result.reshape(call.value.shape), transfers)


def recurrent(call: Call) -> Outcome | None:
    """LSTM, GRU, RNN: the whole sequence comes together where its first element is, and runs there."""
    x = call.operand("input")
    assert x is not None
    batch = None if x.home.dim() == 2 else (0 if call.get("batch_first") else 1)
    begins = head(x.home, [d for d in range(x.home.dim()) if d != batch])
    of_states = begins if batch is None else begins.movedim(batch, 1)  # [layer, batch, features]
    others = [operand for operand in call.activations if operand.node is not x.node]
    if any(operand.home.dim() != x.home.dim() for operand in others):
        return None
    transfers = [Transfer(x.node, x.home, begins), *(Transfer(o.node, o.home, of_states) for o in others)]
    output, *states = call.value
    return Outcome([begins.expand(output.shape), *(of_states.expand(state.shape) for state in states)], transfers)


def attention(call: Call) -> Outcome | None:
    """softmax(q k' + mask) v: keys and values go to where the query's row begins.

    With enable_gqa several query heads read one head of keys and values; it goes once to each of their tiles.
    """
    q, k, v = (call.operand(name) for name in ("query", "key", "value"))
    assert q is not None
    assert k is not None
    assert v is not None
    mask = call.operand("attn_mask")
    if call.get("enable_gqa"):
        heads = k.home.shape[-3]
        q = Operand(q.node, q.home.unflatten(-3, (heads, -1)))
        k, v = (Operand(o.node, o.home.unsqueeze(-3)) for o in (k, v))
        if mask and mask.home.dim() > 2:
            home = mask.home
            mask = Operand(mask.node, home.unflatten(-3, (heads, -1)) if home.shape[-3] > 1 else home.unsqueeze(-3))
    scores, transfers = product(q, Operand(k.node, k.home.transpose(-2, -1)))
    if mask:
        scores, more = meet([Operand(q.node, scores), mask], scores.shape)
        transfers += more[1:]
    scores, more = statistics(Operand(q.node, scores), [-1], 2)
    transfers += more
    result, more = product(Operand(q.node, scores), v)
    return Outcome(reshape(result, call.value.shape), transfers + more)
