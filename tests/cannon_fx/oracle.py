"""The truth about communication: a network's description walked element by element and flit by flit.

It reads the description that the network was built from, never its graph, and shares no code with the
compiler. From a plan it takes only what is a choice of mapping: the split of each layer and the routers.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cannon_fx.hw.analytic import phase_makespans
from cannon_fx.hw.chip import Chip
from cannon_fx.plans import Plan

PORT = -1
Pair = tuple[int, int]
Homes = NDArray[np.int64]


@dataclass(frozen=True)
class Conv:
    """A convolution; `padding` may be "same"."""

    out: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair | Literal["same"] = (0, 0)
    dilation: Pair = (1, 1)
    bias: bool = False
    groups: int = 1


@dataclass(frozen=True)
class Pool:
    """A pool; "adaptive" averages to `kernel` outputs."""

    kind: Literal["max", "avg", "adaptive"]
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)


@dataclass(frozen=True)
class Still:
    """An op that leaves every element where it is."""

    kind: Literal["norm", "relu", "relu_", "dropout"]


@dataclass(frozen=True)
class Join:
    """Two branches of one value, added (in place: add_) or concatenated along channels."""

    how: Literal["add", "add_", "cat"]
    first: tuple[Op, ...]
    second: tuple[Op, ...]


@dataclass(frozen=True)
class Flatten:
    """All dimensions but the batch's become one."""


@dataclass(frozen=True)
class Linear:
    """A linear layer over the last dimension."""

    out: int
    bias: bool = True


Op = Conv | Pool | Still | Join | Flatten | Linear


@dataclass(frozen=True)
class Network:
    """A description: the input's shape without the batch, and the ops in order."""

    shape: tuple[int, ...]
    ops: tuple[Op, ...]

    def module(self) -> nn.Module:
        return _sequence(self.ops, self.shape)[0]

    def example(self) -> Tensor:
        return torch.zeros(1, *self.shape)


# ---------------------------------------------------------------------------------------------- shapes


def reach(op: Conv | Pool, axis: int) -> tuple[int, int, int, int]:
    """(taps, stride, padding in front, dilation) along one axis."""
    dilation = op.dilation[axis] if isinstance(op, Conv) else 1
    if op.padding == "same":
        return op.kernel[axis], op.stride[axis], dilation * (op.kernel[axis] - 1) // 2, dilation
    return op.kernel[axis], op.stride[axis], op.padding[axis], dilation


def output_size(op: Conv | Pool, axis: int, size: int) -> int:
    if op.padding == "same":
        return size
    taps, stride, padding, dilation = reach(op, axis)
    return (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1


def output_shape(op: Op, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape behind `op`, without the batch; a size below 1 means that the op does not fit."""
    match op:
        case Conv() | Pool(kind="max" | "avg"):
            channels = op.out if isinstance(op, Conv) else shape[0]
            return channels, output_size(op, 0, shape[1]), output_size(op, 1, shape[2])
        case Pool():
            return shape[0], *op.kernel
        case Join():
            first, second = sequence_shape(op.first, shape), sequence_shape(op.second, shape)
            return (first[0] + second[0], *first[1:]) if op.how == "cat" else first
        case Flatten():
            return (int(np.prod(shape)),)
        case Linear():
            return (*shape[:-1], op.out)
    return shape


def sequence_shape(ops: Iterable[Op], shape: tuple[int, ...]) -> tuple[int, ...]:
    for op in ops:
        shape = output_shape(op, shape)
    return shape


# --------------------------------------------------------------------------------------------- modules


class _Join(nn.Module):
    def __init__(self, op: Join, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.how = op.how
        self.first = _sequence(op.first, shape)[0]
        self.second = _sequence(op.second, shape)[0]

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(x)
        if self.how == "cat":
            return torch.cat([first, second], dim=1)
        if self.how == "add_":
            first += second
            return first
        return first + second


def _sequence(ops: Iterable[Op], shape: tuple[int, ...]) -> tuple[nn.Sequential, tuple[int, ...]]:
    modules = []
    for op in ops:
        modules.append(_module(op, shape))
        shape = output_shape(op, shape)
    return nn.Sequential(*modules), shape


def _module(op: Op, shape: tuple[int, ...]) -> nn.Module:
    match op:
        case Conv():
            return nn.Conv2d(
                shape[0], op.out, op.kernel, op.stride, op.padding, op.dilation, groups=op.groups, bias=op.bias
            )
        case Pool(kind="max"):
            return nn.MaxPool2d(op.kernel, op.stride, op.padding)
        case Pool(kind="avg"):
            return nn.AvgPool2d(op.kernel, op.stride, op.padding)
        case Pool():
            return nn.AdaptiveAvgPool2d(op.kernel)
        case Still(kind="norm"):
            return nn.BatchNorm2d(shape[0])
        case Still(kind="dropout"):
            return nn.Dropout(0.5)
        case Still():
            return nn.ReLU(inplace=op.kind == "relu_")
        case Join():
            return _Join(op, shape)
        case Flatten():
            return nn.Flatten()
        case Linear():
            return nn.Linear(shape[-1], op.out, bias=op.bias)


# ------------------------------------------------------------------------------------- random networks


def random_network(rng: random.Random, channels: int = 11, size: int = 9, blocks: int = 3) -> Network:
    """A small network with at least one linear layer, whose ops all fit their inputs."""
    shape = (rng.randint(1, channels), *(max(rng.randint(1, size), rng.randint(1, size)) for _ in range(2)))
    ops: list[Op] = []
    here: tuple[int, ...] = shape
    for _ in range(rng.randint(1, blocks)):
        block = _random_block(rng, here, channels)
        ops += block
        here = sequence_shape(block, here)
    if rng.random() < 0.2:
        ops.append(Linear(rng.randint(1, channels), rng.random() < 0.5))
    ops.append(Flatten())
    if rng.random() < 0.3:
        ops += [Linear(rng.randint(1, 12)), Still("relu")]
    ops.append(Linear(rng.randint(1, 7), rng.random() < 0.5))
    return Network(shape, tuple(ops))


def _random_conv(rng: random.Random, shape: tuple[int, ...], channels: int) -> Conv:
    """Strides are rare, so that images do not shrink to one pixel at once."""
    while True:
        op = Conv(
            out=rng.randint(1, channels),
            kernel=rng.choice([(1, 1), (1, 1), (3, 3), (3, 3), (2, 2), (5, 5), (1, 3), (3, 2)]),
            stride=rng.choice([(1, 1), (1, 1), (1, 1), (2, 2), (3, 3), (2, 1)]),
            padding=rng.choice([(0, 0), (1, 1), (2, 2), (1, 0), "same"]),
            dilation=rng.choice([(1, 1), (1, 1), (2, 2), (1, 2)]),
            bias=rng.random() < 0.5,
        )
        if op.padding == "same":
            op = replace(op, stride=(1, 1))
        if rng.random() < 0.2 and shape[0] % 2 == 0:
            op = replace(op, groups=2, out=2 * op.out)
        if min(output_shape(op, shape)) >= 1:
            return op


def _random_pool(rng: random.Random, shape: tuple[int, ...]) -> Pool:
    while True:
        kind = rng.choice(["max", "avg", "adaptive"])
        if kind == "adaptive":
            return Pool("adaptive", (rng.randint(1, 3), rng.randint(1, 3)))
        kernel = rng.choice([(2, 2), (3, 3), (1, 2), (2, 1), (1, 1)])
        padding = (1, 1) if min(kernel) > 1 and rng.random() < 0.3 else (0, 0)
        op = Pool(kind, kernel, rng.choice([(1, 1), (2, 2), kernel]), padding)
        if min(output_shape(op, shape)) >= 1:
            return op


def _tail(rng: random.Random) -> list[Op]:
    kinds = rng.choice([[], ["norm"], ["relu"], ["norm", "relu"], ["norm", "relu_"], ["dropout"]])
    return [Still(kind) for kind in kinds]


def _random_block(rng: random.Random, shape: tuple[int, ...], channels: int) -> list[Op]:
    match rng.choice(["conv", "conv", "pool", "residual", "projected", "cat"]):
        case "conv":
            return [_random_conv(rng, shape, channels), *_tail(rng)]
        case "pool":
            return [_random_pool(rng, shape), *_tail(rng)]
        case "residual":
            body: list[Op] = [Conv(shape[0], (3, 3), padding=(1, 1)), *_tail(rng)]
            if rng.random() < 0.5:
                body.insert(0, Conv(rng.randint(1, channels), (1, 1)))
            if rng.random() < 0.3:
                return [Join("add", (), tuple(body)), *_tail(rng)]
            return [Join(rng.choice(["add", "add_"]), tuple(body), ()), *_tail(rng)]
        case "projected":
            out, stride = rng.randint(1, channels), rng.choice([(1, 1), (2, 2)])
            body = [Conv(out, (3, 3), stride, (1, 1)), Still("norm"), Still("relu"), Conv(out, (1, 1))]
            return [Join("add", tuple(body), (Conv(out, (1, 1), stride), Still("norm"))), *_tail(rng)]
    first = [_random_conv(rng, shape, channels), *_tail(rng)]
    size = sequence_shape(first, shape)[1:]
    second = [Pool("adaptive", size), *_tail(rng)]
    if rng.random() < 0.7:
        second.append(Conv(rng.randint(1, channels), (1, 1)))
    return [Join("cat", *rng.sample([tuple(first), tuple(second)], 2))]


# ------------------------------------------------------------------------------------------- the count


@dataclass
class Phase:
    """One step of the schedule, counted flit by flit. Links are (x, y, dx, dy): from router (x, y) onwards."""

    kind: str
    name: str | None
    flits: int = 0
    links: Counter[tuple[int, int, int, int]] = field(default_factory=Counter)
    router_passes: int = 0
    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)
    hops: dict[Pair, int] = field(default_factory=dict)
    flits_of: Counter[Pair] = field(default_factory=Counter)

    @property
    def flit_hops(self) -> int:
        return sum(self.links.values())

    def energy_pj(self, chip: Chip) -> float:
        link = chip.energy.link_pj_per_bit_mm * chip.noc.flit_bits * chip.noc.link_mm
        return self.flit_hops * link + self.router_passes * chip.energy.router_pj_per_flit

    def latency_cycles(self, plan: Plan) -> float:
        """What the analytic model, which has tests of its own, says of this phase alone."""
        placement, noc = plan.placed(), plan.chip.noc
        pairs = list(self.flits_of)
        source, target = placement.node[np.array(pairs, np.int64).reshape(-1, 2).T]
        phase, flits = np.zeros(len(pairs), np.int64), np.array(list(self.flits_of.values()), np.int64)
        cycles = phase_makespans(phase, source, target, flits, 1, noc.packet_flits, placement.network, noc.router)
        return float(cycles[0])


@dataclass
class Oracle:
    """Walks a network for the masks `keep` (bool [J, G] by layer name) on the tiles that `plan` chose."""

    plan: Plan
    keep: Mapping[str, NDArray[np.bool_]]
    phases: list[Phase] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    unmapped: list[str] = field(default_factory=list)
    weights: int = 0
    kept_weights: int = 0

    @classmethod
    def of(cls, network: Network, plan: Plan, keep: Mapping[str, NDArray[np.bool_]]) -> Oracle:
        oracle = cls(plan, keep)
        oracle._run(network.ops, np.full(network.shape, PORT), "")
        return oracle

    def _run(self, ops: Iterable[Op], home: Homes, prefix: str) -> Homes:
        for index, op in enumerate(ops):
            home = self._op(op, home, f"{prefix}{index}")
        return home

    def _op(self, op: Op, home: Homes, name: str) -> Homes:
        match op:
            case Conv():
                return self._conv(op, home, name)
            case Linear():
                return self._linear(op, home, name)
            case Pool():
                return self._pool(op, home)
            case Join():
                return self._join(op, home, name)
            case Flatten():
                return np.array([home[index] for index in _indices(home.shape)], np.int64)
        return home

    def _pool(self, op: Pool, home: Homes) -> Homes:
        result = np.empty(output_shape(op, home.shape), np.int64)
        for c, y, x in _indices(result.shape):
            (result[c, y, x],) = set(home[c].ravel().tolist())  # a channel never spreads over tiles here
        return result

    def _join(self, op: Join, home: Homes, name: str) -> Homes:
        first = self._run(op.first, home, f"{name}.first.")
        second = self._run(op.second, home, f"{name}.second.")
        if op.how == "cat":
            return np.concatenate([first, second])
        self._move(second, {(index, int(first[index])) for index in _indices(first.shape)})
        return first

    def _conv(self, op: Conv, home: Homes, name: str) -> Homes:
        shape = output_shape(op, home.shape)
        rows, columns = self.plan.chip.tile_rows, op.kernel[0] * op.kernel[1]
        if op.groups > 1 or columns > rows:
            self.unmapped.append(name)
            return self._off_crossbars(op, home, shape)
        read = {
            (y, x)
            for oy, ox, ky, kx in _indices((shape[1], shape[2], *op.kernel))
            if 0 <= (y := _source(op, 0, oy, ky)) < home.shape[1] and 0 <= (x := _source(op, 1, ox, kx)) < home.shape[2]
        }
        read_by = [[(c, y, x) for y, x in read] for c in range(home.shape[0])]
        tiles = self._layer(name, home, read_by, op.out, op.kernel[0] * op.kernel[1], shape[1] * shape[2])
        result = np.empty(shape, np.int64)
        for index in _indices(shape):
            result[index] = tiles[index[0]]
        return result

    def _linear(self, op: Linear, home: Homes, name: str) -> Homes:
        lead = home.shape[:-1]
        read_by = [[(*index, c) for index in _indices(lead)] for c in range(home.shape[-1])]
        tiles = self._layer(name, home, read_by, op.out, 1, len(list(_indices(lead))))
        result = np.empty((*lead, op.out), np.int64)
        for index in _indices(result.shape):
            result[index] = tiles[index[-1]]
        return result

    def _off_crossbars(self, op: Conv, home: Homes, shape: tuple[int, ...]) -> Homes:
        """A convolution that is not on crossbars: each group's channels come together where the first of them is."""
        result = np.empty(shape, np.int64)
        needed: set[tuple[tuple[int, ...], int]] = set()
        inputs, outputs = home.shape[0] // op.groups, shape[0] // op.groups
        for c, y, x in _indices(home.shape):
            needed.add(((c, y, x), int(home[c // inputs * inputs, 0, 0])))
        for o, y, x in _indices(shape):
            result[o, y, x] = home[o // outputs * inputs, 0, 0]
        self._move(home, needed)
        return result

    def _layer(
        self, name: str, home: Homes, read_by: list[list[tuple[int, ...]]], out: int, taps: int, positions: int
    ) -> list[int]:
        """Counts a layer whose input channel c reads elements `read_by[c]`; the tile of each output channel."""
        (choice,) = [layer for layer in self.plan.layers if layer.name == name]
        precision, keep = self.plan.chip.precision, self.keep[name]
        row_blocks = -(-len(read_by) // choice.row_channels)
        column_blocks = -(-out // choice.out_block)
        groups = -(-len(read_by) // choice.group_size)
        assert keep.shape == (column_blocks, groups)

        def tile(i: int, j: int) -> int:
            return choice.first_tile + j * row_blocks + i

        needed: set[tuple[tuple[int, ...], int]] = set()
        working: set[Pair] = set()
        for c, n in itertools.product(range(len(read_by)), range(out)):
            g, i, j = c // choice.group_size, c // choice.row_channels, n // choice.out_block
            self.weights += taps
            if keep[j, g]:
                self.kept_weights += taps
                working.add((i, j))
                needed |= {(element, tile(i, j)) for element in read_by[c]}
        self.layers.append(name)
        self.phases.append(self._walk("input", name, _bits(home, needed, precision.activation_bits)))
        sums: Counter[Pair] = Counter()
        for i, j in working:
            target = tile(row_blocks // 2, j)
            if tile(i, j) != target:
                for n in range(out):
                    if n // choice.out_block == j:
                        sums[tile(i, j), target] += positions * precision.partial_sum_bits
        self.phases.append(self._walk("partial_sum", name, sums))
        return [tile(row_blocks // 2, n // choice.out_block) for n in range(out)]

    def _move(self, home: Homes, needed: set[tuple[tuple[int, ...], int]]) -> None:
        bits = _bits(home, needed, self.plan.chip.precision.activation_bits)
        if bits:
            self.phases.append(self._walk("move", None, bits))

    def _walk(self, kind: str, name: str | None, bits: Mapping[Any, int]) -> Phase:
        """Every flit of every transfer (source, target, …), hop by hop: first along x, then along y."""
        phase = Phase(kind, name)
        for (source, target, *_), size in bits.items():
            for _ in range(0, size, self.plan.chip.noc.flit_bits):
                (x, y), end = self._router(source), self._router(target)
                hops = 0
                phase.router_passes += 1
                while (x, y) != end:
                    dx = (end[0] > x) - (end[0] < x)
                    dy = 0 if dx else (end[1] > y) - (end[1] < y)
                    phase.links[x, y, dx, dy] += 1
                    phase.router_passes += 1
                    x, y, hops = x + dx, y + dy, hops + 1
                phase.hops[source, target] = hops
                phase.flits += 1
                phase.flits_of[source, target] += 1
                phase.sent[source] += 1
                phase.received[target] += 1
        return phase

    def _router(self, tile: int) -> Pair:
        if tile == PORT:
            return self.plan.chip.noc.port
        placement = self.plan.placed()
        y, x = divmod(int(placement.node[tile]), placement.grid.columns)
        return x, y


def _indices(shape: Iterable[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, shape))


def _source(op: Conv, axis: int, output: int, tap: int) -> int:
    """The input row (or column) that an output reads through a tap."""
    _, stride, padding, dilation = reach(op, axis)
    return output * stride - padding + tap * dilation


def _bits(home: Homes, needed: set[tuple[tuple[int, ...], int]], bits: int) -> Counter[Pair]:
    """Bits per (source, target) of elements that are needed on tiles; what is there already stays."""
    total: Counter[Pair] = Counter()
    for element, target in needed:
        if int(home[element]) != target:
            total[int(home[element]), target] += bits
    return total


# ----------------------------------------------------------------------------------------------- chips


def chip(name: str = "small", **changes: Any) -> Chip:
    """A chip from TOML text: a small one, with `changes` to its values."""
    values = {
        "rows": 18, "columns": 16, "cell_bits": 2, "pe_rows": 1, "pe_columns": 1,
        "weight_bits": 8, "activation_bits": 8, "partial_sum_bits": 21,
        "flit_bits": 32, "packet_flits": 1, "num_vcs": 1, "vc_buf_size": 10, "clock_ghz": 1.0, "link_mm": 1.0,
        "link_cycles": 1, "routing_delay": 1, "credit_delay": 0, "port": [0, 0],
        "router_pj_per_flit": 1.25, "link_pj_per_bit_mm": 0.03,
        "router_leakage_mw": 4.5, "router_clock_mw": 0.25, "link_leakage_mw": 0.125, "mesh": "",
    } | changes  # fmt: skip
    return Chip.parse(TOML.format(name=name, **values), name)


TOML = """
schema = 1
name = "{name}"
description = "for tests"
[crossbar]
rows = {rows}
columns = {columns}
cell_bits = {cell_bits}
[tile]
pe_rows = {pe_rows}
pe_columns = {pe_columns}
[precision]
weight_bits = {weight_bits}
activation_bits = {activation_bits}
partial_sum_bits = {partial_sum_bits}
[noc]
topology = "mesh"
routing = "xy"
{mesh}
flit_bits = {flit_bits}
packet_flits = {packet_flits}
clock_ghz = {clock_ghz}
link_mm = {link_mm}
link_cycles = {link_cycles}
port = {port}
[noc.router]
num_vcs = {num_vcs}
vc_buf_size = {vc_buf_size}
routing_delay = {routing_delay}
credit_delay = {credit_delay}
[energy]
model = "constants"
router_pj_per_flit = {router_pj_per_flit}
link_pj_per_bit_mm = {link_pj_per_bit_mm}
router_leakage_mw = {router_leakage_mw}
router_clock_mw = {router_clock_mw}
link_leakage_mw = {link_leakage_mw}
"""
