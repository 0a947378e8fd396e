"""The truth about homes: every element of every value of a graph followed through each op, in plain loops.

Written from the table in docs/architecture.md, not from the compiler, with which it shares no code. A value is a
float64 tensor of homes, shifted so that a constant is 0, and PyTorch itself runs the ops that only move data on
it: views share memory, what is padded is 0. The oracle's count of flits does the rest.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from oracle import Oracle
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from cannon_fx.plans import Plan

CONSTANT = -2
Index = tuple[int, ...]


def tile(value: Tensor, index: Index) -> int:
    """The home of an element."""
    return int(value[index]) + CONSTANT


def indices(shape: Iterable[int]) -> Iterable[Index]:
    return itertools.product(*map(range, shape))


def without(index: Index, dims: Iterable[int]) -> Index:
    return tuple(0 if d in dims else i for d, i in enumerate(index))


def lines(shape: Iterable[int], dims: Iterable[int]) -> dict[Index, list[Index]]:
    """The elements of each line along `dims`, in order; a line is named by its index with zeros along them."""
    found: dict[Index, list[Index]] = {}
    for index in indices(shape):
        found.setdefault(without(index, dims), []).append(index)
    return found


def begin(value: Tensor, line: Iterable[Index]) -> int:
    return next((tile(value, index) for index in line if tile(value, index) != CONSTANT), CONSTANT)


@dataclass
class Tracer(Oracle):
    """Walks the graph of `plan` for the masks `keep`; what an op moves is in `sent`, by (source, target, producer)."""

    sent: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    seen: set[Any] = field(default_factory=set)
    ops: set[str] = field(default_factory=set)

    @classmethod
    def of_plan(cls, plan: Plan, keep: Mapping[str, NDArray[np.bool_]]) -> Tracer:
        tracer = cls(plan, keep)
        tracer.walk()
        return tracer

    def walk(self) -> None:
        values: dict[Node, Any] = {}
        layers = {layer.node: layer for layer in self.plan.layers}
        inputs = self.plan.exported.graph_signature.user_inputs
        for node in self.plan.exported.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                values[node] = torch.full(node.meta["val"].shape, float(-1 if node.name in inputs else -2)) - CONSTANT
                values[node] = values[node].double()
            elif node.name in layers:
                values[node] = self.layer(layers[node.name].name, node, values[node.args[0]])
            elif node.op == "call_function":
                self.sent, self.seen = Counter(), set()
                values[node] = self.op(node, values)
                bits = {key: n * self.plan.chip.precision.activation_bits for key, n in self.sent.items()}
                if bits:
                    self.phases.append(self._walk("move", None, bits))

    def send(self, producer: Any, what: Any, source: int, target: int, times: int = 1) -> None:
        """`what` of `producer` goes from tile to tile, but only once to each."""
        name = producer if isinstance(producer, str) else producer.name
        if source != target and CONSTANT not in (source, target) and (producer, what, source, target) not in self.seen:
            self.seen.add((producer, what, source, target))
            self.sent[source, target, name] += times

    # ------------------------------------------------------------------------------------------ layers

    def layer(self, name: str, node: Node, value: Tensor) -> Tensor:
        homes = value.numpy().astype(np.int64) + CONSTANT
        result = torch.empty(node.meta["val"].shape, dtype=torch.float64)
        channel = 1 if node.target._schema.name.startswith("aten::conv") else value.dim() - 1
        weight = node.args[1].meta["val"].shape
        taps = math.prod(weight[2:])
        read = {()} if channel == value.dim() - 1 else set(self.pixels_read(node, value.shape[2:], weight[2:]))
        read_by: list[list[Index]] = [[] for _ in range(value.shape[channel])]
        for i in indices(value.shape):
            if (i[2:] in read or () in read) and homes[i] != CONSTANT:
                read_by[i[channel]].append(i)
        tiles = self._layer(name, homes, read_by, weight[0], taps, result.numel() // weight[0])
        for index in indices(result.shape):
            result[index] = tiles[index[channel]] - CONSTANT
        return result

    def pixels_read(self, node: Node, size: Iterable[int], taps: Iterable[int]) -> Iterable[Index]:
        """Pixels under some weight."""
        image = torch.zeros(1, 1, *size, dtype=torch.float64, requires_grad=True)
        kernel = torch.ones(1, 1, *taps, dtype=torch.float64)
        node.target(image, kernel, None, *node.args[3:], **node.kwargs).sum().backward()
        return [tuple(pixel) for pixel in image.grad[0, 0].nonzero().tolist()]

    # --------------------------------------------------------------------------------------------- ops

    def op(self, node: Node, values: dict[Node, Any]) -> Any:
        args = map_arg(node.args, lambda n: values[n])
        kwargs = map_arg(node.kwargs, lambda n: values[n])
        if not isinstance(node.target, torch._ops.OpOverload):
            return node.target(*args, **kwargs)
        if not isinstance(node.meta.get("val"), (Tensor, list, tuple)):  # a number, or a check without a result
            return node.meta.get("val")
        name = node.target._schema.name.removeprefix("aten::")
        in_place = name.endswith("_") and not name.endswith("__")
        name = name.rstrip("_") if in_place else name
        self.ops.add(name)
        shape = getattr(node.meta["val"], "shape", None)
        if rule := getattr(self, f"op_{name.strip('_')}", None):
            result = rule(node, args, kwargs)
        elif name in LINES:
            result = self.line(node, args[0], LINES[name](args, kwargs))
        elif name in NORMALISED:
            number, dims = NORMALISED[name]
            result = self.normalised(node, args[0], dims(args, kwargs), number)
        elif name in REDUCED:
            result = self.reduced(node, args[0], (third_dim if "norm" in name else named_dim)(args, kwargs))
        elif name in MADE:
            result = torch.zeros(shape, dtype=torch.float64)
        elif name in STILL:
            result = args[0].clone()
            if shape is None:  # with a mask, or with statistics that are empty
                others = (torch.zeros(item.shape, dtype=torch.float64) for item in node.meta["val"][1:])
                result = [result, *(result.clone() if o.shape == result.shape else o for o in others)]
        elif name in MOVED:
            return node.target(*args, **{k: v for k, v in kwargs.items() if k not in ("dtype", "device", "pin_memory")})
        else:
            assert name in POINTWISE, f"say in the tracer what {name} does"
            result = self.pointwise(node, values)
        if in_place:
            args[0].copy_(result)
            return args[0]
        return result

    def everywhere(self, node: Node, value: Tensor) -> Any:
        """The same homes for each of several results."""
        found = node.meta["val"]
        return [value.expand(item.shape).clone() for item in found] if isinstance(found, (list, tuple)) else value

    def pointwise(self, node: Node, values: dict[Node, Any], last: Node | None = None) -> Any:
        operands = [n for n in node.all_input_nodes if isinstance(values[n], Tensor)]
        order = sorted(operands, key=lambda n: (-values[n].numel(), n is last))
        found = node.meta["val"]
        shape = (found[0] if isinstance(found, (list, tuple)) else found).shape
        return self.everywhere(node, self.meet([(n, values[n]) for n in order], shape))

    def meet(self, operands: list[tuple[Any, Tensor]], shape: Iterable[int]) -> Tensor:
        """Operands in the order of their rights: the first that is no constant is where the result is."""
        result = torch.zeros(tuple(shape), dtype=torch.float64)
        for index in indices(shape):
            own = [(p, v, fitted(index, v.shape)) for p, v in operands]
            target = next((tile(v, i) for _, v, i in own if tile(v, i) != CONSTANT), CONSTANT)
            result[index] = target - CONSTANT
            for number, (producer, value, i) in enumerate(own):
                self.send(producer, ("meet", number, i), tile(value, i), target)
        return result

    def together(self, producer: Node, value: Tensor, dims: set[int]) -> dict[Index, int]:
        """Brings each line to where it begins; those places."""
        begins: dict[Index, int] = {}
        for key, line in lines(value.shape, dims).items():
            begins[key] = begin(value, line)
            for index in line:
                self.send(producer, index, tile(value, index), begins[key])
        return begins

    def line(self, node: Node, value: Tensor, dims: Iterable[int]) -> Any:
        dims = {d % value.dim() for d in dims}
        return self.shaped(node, value, dims, self.together(node.args[0], value, dims))

    def shaped(self, node: Node, value: Tensor, dims: set[int], begins: dict[Index, int]) -> Any:
        """Results at the beginning of their lines, along whose dimensions they have any size, or none."""
        found = node.meta["val"]
        results = []
        for item in found if isinstance(found, (list, tuple)) else [found]:
            result = torch.empty(item.shape, dtype=torch.float64)
            for index in indices(item.shape):
                rest = list(index)
                if len(index) < value.dim():
                    for d in sorted(dims):
                        rest.insert(d, 0)
                result[index] = begins[without(tuple(rest), dims)] - CONSTANT
            results.append(result)
        return results if isinstance(found, (list, tuple)) else results[0]

    def partials(self, producer: Any, value: Tensor, dims: set[int], number: int = 1) -> dict[Index, int]:
        begins = {}
        for key, line in lines(value.shape, dims).items():
            begins[key] = begin(value, line)
            for source in {tile(value, index) for index in line}:
                self.send(producer, ("partial", key), source, begins[key], number)
        return begins

    def reduced(self, node: Node, value: Tensor, dims: Iterable[int] | None) -> Any:
        dims = set(range(value.dim())) if dims is None else {d % value.dim() for d in dims}
        return self.shaped(node, value, dims, self.partials(node.args[0], value, dims))

    def statistics(self, producer: Any, value: Tensor, dims: Iterable[int], number: int) -> tuple[Tensor, Any]:
        dims = {d % value.dim() for d in dims}
        begins = self.partials(producer, value, dims, number)
        result = value.clone()
        for index in indices(value.shape):
            there = begins[without(index, dims)]
            if tile(value, index) == CONSTANT:
                result[index] = there - CONSTANT
            self.send(producer, ("statistic", without(index, dims)), there, tile(value, index), number)
        return result, begins

    def normalised(self, node: Node, value: Tensor, dims: Iterable[int], number: int) -> Any:
        result, begins = self.statistics(node.args[0], value, dims, number)
        if not isinstance(node.meta["val"], (list, tuple)):
            return result
        others = [torch.empty(item.shape, dtype=torch.float64) for item in node.meta["val"][1:]]
        for other in others:
            for index in indices(other.shape):
                other[index] = begins[index] - CONSTANT
        return [result, *others]

    def product(self, a: tuple[Any, Tensor], b: tuple[Any, Tensor], stage: str = "") -> Tensor:
        (pa, va), (pb, vb) = a, b
        front = torch.broadcast_shapes(va.shape[:-2], vb.shape[:-2])
        result = torch.empty(*front, va.shape[-2], vb.shape[-1], dtype=torch.float64)
        for index in indices(result.shape):
            *before, m, n = index
            row = [(*fitted(tuple(before), va.shape[:-2]), m, k) for k in range(va.shape[-1])]
            column = [(*fitted(tuple(before), vb.shape[:-2]), k, n) for k in range(vb.shape[-2])]
            target = begin(va, row)
            target = begin(vb, column) if target == CONSTANT else target
            result[index] = target - CONSTANT
            for side, producer, value, elements in (("a", pa, va, row), ("b", pb, vb, column)):
                for i in elements:
                    self.send(producer, (stage, side, i), tile(value, i), target)
        return result

    def op_where(self, node: Node, args: Any, kwargs: Any) -> Any:
        given = [(n, v) for n, v in zip(node.args, args, strict=True) if isinstance(v, Tensor)]
        order = sorted(given, key=lambda o: (-o[1].numel(), o[0] is node.args[0]))
        return self.meet(order, node.meta["val"].shape)

    def op_matmul(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        a, b = args
        result = self.product(
            (node.args[0], a if a.dim() > 1 else a[None]), (node.args[1], b if b.dim() > 1 else b[:, None])
        )
        return result.reshape(node.meta["val"].shape)

    op_mm = op_bmm = op_mv = op_dot = op_matmul

    def op_addmm(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        result = self.product((node.args[1], args[1]), (node.args[2], args[2]))
        return self.meet([("(product)", result), (node.args[0], args[0])], result.shape)

    op_baddbmm = op_addmm

    def op_linear(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        value = args[0].unsqueeze(-2)
        return self.product((node.args[0], value), (node.args[1], args[1].T)).squeeze(-2)

    def op_scaled_dot_product_attention(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        (pq, pk, pv), (q, k, v) = node.args[:3], args[:3]
        mask, mask_node = (args[3], node.args[3]) if len(args) > 3 else (kwargs.get("attn_mask"), None)
        if mask is not None and mask_node is None:
            mask_node = node.kwargs["attn_mask"]
        if kwargs.get("enable_gqa"):
            return self.grouped_attention(node, q, k, v)
        scores = self.product((pq, q), (pk, k.transpose(-2, -1)), "scores")
        if mask is not None:
            scores = self.meet([("(scores)", scores), (mask_node, mask)], scores.shape)
        scores, _ = self.statistics(pq, scores, [-1], 2)
        return self.product((pq, scores), (pv, v), "values")

    def grouped_attention(self, node: Node, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Query head h reads head h // share of keys and values; what two heads of one tile read goes there once."""
        (pq, pk, pv), share = node.args[:3], q.shape[1] // k.shape[1]
        result = torch.empty(node.meta["val"].shape, dtype=torch.float64)
        for b, h, m in indices(q.shape[:3]):
            row = [(b, h, m, e) for e in range(q.shape[3])]
            target = begin(q, row)
            assert target != CONSTANT, "queries of constants are not covered here"
            for index in row:
                self.send(pq, ("row", index), tile(q, index), target)
            for producer, value in ((pk, k), (pv, v)):
                for s, e in indices(value.shape[2:]):
                    index = (b, h // share, s, e)
                    self.send(producer, (producer.name, index), tile(value, index), target)
            result[b, h, m] = target - CONSTANT
        return result

    def op_convolution(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        """Off the crossbars: a group's channels with all their pixels come together, and its weights if computed."""
        names = [argument.name for argument in node.target._schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs
        defaults = {a.name: a.default_value for a in node.target._schema.arguments}
        groups = given.get("groups", defaults["groups"])
        value, weight = args[0], args[1]
        if value.dim() == weight.dim() - 1:
            value = value[None]
        result = torch.empty(node.meta["val"].shape, dtype=torch.float64)
        batched = result if result.dim() == weight.dim() else result[None]
        inputs, outputs, filters = value.shape[1] // groups, batched.shape[1] // groups, weight.shape[0] // groups
        for b, g in indices((value.shape[0], groups)):
            of_group = [i for i in indices(value.shape) if i[0] == b and i[1] // inputs == g]
            target = begin(value, of_group)
            for index in of_group:
                self.send(node.args[0], index, tile(value, index), target)
            for index in indices(weight.shape):
                if index[0] // filters == g:
                    self.send(node.args[1], index, tile(weight, index), target)
            batched[b, g * outputs : (g + 1) * outputs] = target - CONSTANT
        return result

    op_conv1d = op_conv2d = op_conv3d = op_convolution
    op_conv_transpose1d = op_conv_transpose2d = op_conv_transpose3d = op_convolution

    def op_lstm(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Input [batch, time, features] (batch_first) or [time, batch, features]; states [layer, batch, features]."""
        value, states, batch = args[0], args[1], 0 if args[-1] else 1
        results = [torch.empty(item.shape, dtype=torch.float64) for item in node.meta["val"]]
        for b in range(value.shape[batch]):
            sequence = [i for i in indices(value.shape) if i[batch] == b]
            target = begin(value, sequence)
            for index in sequence:
                self.send(node.args[0], index, tile(value, index), target)
            given = (
                zip(node.args[1], states, strict=True)
                if isinstance(states, (list, tuple))
                else [(node.args[1], states)]
            )
            for producer, state in given:
                for index in indices(state.shape):
                    if index[1] == b:
                        self.send(producer, index, tile(state, index), target)
            results[0].select(batch, b).fill_(target - CONSTANT)
            for other in results[1:]:
                other[:, b] = target - CONSTANT
        return results

    op_gru = op_rnn_tanh = op_rnn_relu = op_lstm

    def op_embedding(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        assert not args[0].any(), "a computed table is not covered here"
        return args[1].unsqueeze(-1).expand(node.meta["val"].shape).clone()

    def op_one_hot(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        return args[0].unsqueeze(-1).expand(node.meta["val"].shape).clone()

    op_view_as_real = op_one_hot

    def op_view_as_complex(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        return self.line(node, args[0], [-1])

    def op_group_norm(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        value, groups = args[0], args[1]
        size = value.shape[1] // groups
        result = value.clone()
        for g in range(groups):
            part = value[:, g * size : (g + 1) * size]
            found, _ = self.statistics(_Part(node.args[0].name, g), part, range(1, value.dim()), 2)
            result[:, g * size : (g + 1) * size] = found
        return result

    def op_gather(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        value, dim, index = args[0], args[1] % args[0].dim(), args[2]
        begins = self.together(node.args[0], value, {dim})
        result = torch.empty(node.meta["val"].shape, dtype=torch.float64)
        for i in indices(result.shape):
            there = begins[without(i, {dim})]
            own = i if index.dim() == result.dim() else (i[dim],)
            there = tile(index, own) if there == CONSTANT else there
            result[i] = there - CONSTANT
            self.send(node.args[2], ("index", own), tile(index, own), there)
        return result

    op_index_select = op_gather

    def op_index(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        value, given = args
        dims = [d for d, index in enumerate(given) if index is not None]
        shape = torch.broadcast_shapes(*(given[d].shape for d in dims))
        # PyTorch says which line a result is of, and which entry of the indices it takes: both are read off as values.
        begins = self.together(node.args[0], value, set(dims))
        keys = list(begins)
        number = torch.tensor([keys.index(without(i, dims)) for i in indices(value.shape)]).view(value.shape)
        zeros, entries = torch.zeros(shape, dtype=torch.int64), torch.arange(math.prod(shape)).view(shape)
        line_of = number[tuple(slice(None) if index is None else zeros for index in given)]
        ramp = torch.arange(math.prod(shape)).view([-1 if d == dims[0] else 1 for d in range(value.dim())])
        ramp = ramp.expand([-1 if d == dims[0] else size for d, size in enumerate(value.shape)])
        picks = [entries if d == dims[0] else zeros for d in range(value.dim())]
        entry = ramp[tuple(slice(None) if given[d] is None else picks[d] for d in range(len(given)))]
        result = torch.empty(node.meta["val"].shape, dtype=torch.float64)
        for i in indices(result.shape):
            place = tuple(int(k) for k in np.unravel_index(int(entry[i]), shape))
            own = [(node.args[1][d], given[d], fitted(place, given[d].shape)) for d in dims]
            there = begins[keys[int(line_of[i])]]
            for _, index, at in own:
                there = tile(index, at) if there == CONSTANT else there
            result[i] = there - CONSTANT
            for number, (producer, index, at) in enumerate(own):
                self.send(producer, ("index", number, at), tile(index, at), there)
        return result

    def op_col2im(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        """Patches [batch, channels x taps, patches] that overlap are summed to an image, a channel at a time."""
        value, taps = args[0], math.prod(args[2])
        result = torch.empty(node.meta["val"].shape, dtype=torch.float64)
        for b, c in indices(result.shape[:2]):
            of_channel = list(indices((taps, value.shape[2])))
            of_channel = [(b, c * taps + tap, patch) for tap, patch in of_channel]
            target = begin(value, of_channel)
            for index in of_channel:
                self.send(node.args[0], index, tile(value, index), target)
            result[b, c] = target - CONSTANT
        return result

    def op_pad(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        return F.pad(args[0], args[1], args[2] if len(args) > 2 and isinstance(args[2], str) else "constant")

    op_constant_pad_nd = op_pad

    def op_copy(self, node: Node, args: Any, kwargs: Any) -> Tensor:
        return args[1].expand(args[0].shape).clone()


@dataclass(frozen=True)
class _Part:
    """A producer whose lines have names of their own."""

    producer: str
    part: int

    @property
    def name(self) -> str:
        return self.producer


def fitted(index: Index, shape: Iterable[int]) -> Index:
    """The element of an operand of `shape` that is broadcast to `index`."""
    shape = tuple(shape)
    return tuple(0 if size == 1 else i for i, size in zip(index[len(index) - len(shape) :], shape, strict=True))


# ----------------------------------------------------------------------------------------------- families


def named_dim(args: Any, kwargs: Any) -> Any:
    """The second argument or `dim`: one dimension or several; None: all."""
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return [dim] if isinstance(dim, int) else dim or None


def third_dim(args: Any, kwargs: Any) -> Any:
    return named_dim(args[1:], kwargs)


def one_dim(place: int, default: int) -> Any:
    return lambda args, kwargs: [kwargs.get("dim", args[place] if len(args) > place else default)]


def last(number: int) -> Any:
    return lambda args, kwargs: range(-number, 0)


POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
LINES = (
    {f"{pool}{n}d": last(n) for pool in POOLS for n in (1, 2, 3)}
    | {f"max_pool{n}d_with_indices": last(n) for n in (1, 2, 3)}
    | {f"_adaptive_avg_pool{n}d": last(n) for n in (2, 3)}
    | {f"upsample_nearest{n}d": last(n) for n in (1, 2, 3)}
    | {"upsample_linear1d": last(1), "upsample_trilinear3d": last(3)}
    | {f"{kind}2d{more}": last(2) for kind in ("upsample_bilinear", "upsample_bicubic") for more in ("",)}
    | {"_upsample_nearest_exact2d": last(2), "_upsample_bilinear2d_aa": last(2), "_upsample_bicubic2d_aa": last(2)}
    | {"cumsum": one_dim(1, -1), "cumprod": one_dim(1, -1), "sort": one_dim(1, -1), "argsort": one_dim(1, -1)}
    | {"cummax": one_dim(1, -1), "cummin": one_dim(1, -1), "median": one_dim(1, -1), "mode": one_dim(1, -1)}
    | {"kthvalue": one_dim(2, -1)}
    | {"topk": one_dim(2, -1)}
    | dict.fromkeys(("_fft_c2c", "_fft_r2c", "_fft_c2r"), lambda args, kwargs: args[1])
)
NORMALISED = (
    dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), (2, one_dim(1, -1)))
    | dict.fromkeys(("layer_norm", "native_layer_norm"), (2, lambda args, kwargs: range(-len(args[1]), 0)))
    | {"rms_norm": (1, lambda args, kwargs: range(-len(args[1]), 0))}
    | {"instance_norm": (2, lambda args, kwargs: range(2, args[0].dim()))}
)
REDUCED = {"sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "argmax", "argmin", "any",
           "all", "logsumexp", "norm", "linalg_vector_norm"}  # fmt: skip
STILL = {"to", "_to_copy", "type_as", "clone", "lift_fresh_copy", "dropout", "feature_dropout", "alpha_dropout",
         "native_dropout", "real", "imag", "batch_norm", "_native_batch_norm_legit_no_training"}  # fmt: skip
MADE = {"zeros", "ones", "full", "arange", "scalar_tensor", "zeros_like", "ones_like", "full_like", "empty_like",
        "rand_like", "randn_like", "new_zeros", "new_ones", "new_full", "new_empty", "fill", "zero"}  # fmt: skip
MOVED = {"view", "as_strided", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as", "repeat",
         "repeat_interleave", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
         "replication_pad1d", "replication_pad2d", "replication_pad3d", "pixel_shuffle", "pixel_unshuffle",
         "channel_shuffle", "im2col", "tril", "triu", "diag_embed", "slice_scatter", "select_scatter", "rot90",
         "cat", "concat", "stack", "roll", "flip", "contiguous", "slice", "select", "narrow", "permute", "transpose",
         "t", "squeeze", "unsqueeze", "expand", "chunk", "split", "split_with_sizes", "unbind", "movedim", "diagonal",
         "unfold", "detach", "alias", "swapaxes", "expand_as"}  # fmt: skip
POINTWISE = {"add", "sub", "rsub", "mul", "div", "maximum", "minimum", "pow", "relu", "sigmoid", "tanh", "gelu",
             "silu", "hardtanh", "hardswish", "prelu", "floor_divide", "__and__", "__or__", "complex", "polar",
             "masked_fill", "gt", "lt", "eq", "abs", "exp", "clamp", "addcmul", "lerp",
             "logical_not", "sqrt"}  # fmt: skip
