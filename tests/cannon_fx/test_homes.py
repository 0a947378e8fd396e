"""Homes, op by op: where numpy's own ops put each element is where the layer behind the op fetches it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from oracle import chip
from torch import Tensor, nn

from cannon_fx.compile import plan
from cannon_fx.cost import all_transfers, phases_of
from cannon_fx.plans import Plan

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

PORT = -1
NOWHERE = -2
"""Marks constants in the expected homes: they never travel."""

CHANNELS, HEIGHT, WIDTH = 6, 4, 5
CHIP = chip(rows=8, columns=8)  # tiles of 8 x 2 weights: three tiles hold the channels behind `front`
Homes = NDArray[np.int64]


class Between(nn.Module):
    """`front`, a function of its result and the input, and `back`, whose input is what the test looks at."""

    def __init__(self, between: Callable[..., Any], back: nn.Module, front: nn.Module | None = None) -> None:
        super().__init__()
        self.front = front or nn.Conv2d(3, CHANNELS, 1)
        self.back = back
        self.between = between
        self.token = nn.Parameter(torch.zeros(1, CHANNELS, HEIGHT, WIDTH))
        self.register_buffer("table", torch.zeros(CHANNELS, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.between(self, self.front(x), x))


def planned(between: Callable[..., Any], back: nn.Module, front: nn.Module | None = None) -> Plan:
    return plan(Between(between, back, front), torch.zeros(1, 3, HEIGHT, WIDTH), chip=CHIP, group_size=2)


def behind(found: Plan, name: str, shape: tuple[int, ...]) -> Homes:
    """Homes of a layer's result without the batch, channels first; channel n ends on tile (I // 2, n // 2)."""
    (layer,) = [layer for layer in found.layers if layer.name == name]
    tiles = [
        layer.first_tile + n // layer.out_block * layer.row_blocks + layer.row_blocks // 2 for n in range(shape[0])
    ]
    assert len(set(tiles)) > 1
    return np.broadcast_to(np.array(tiles).reshape(-1, *(1,) * (len(shape) - 1)), shape)


def fetched(found: Plan, name: str = "back") -> Counter[tuple[int, int]]:
    """Elements per (channel group, home) that a layer reads."""
    source = found.inputs[name]
    counted: Counter[tuple[int, int]] = Counter()
    for group, home, elements in zip(source.group, source.home, source.elements, strict=True):
        counted[int(group), int(home)] += int(elements)
    return counted


def expected(homes: Homes, group_size: int = 2) -> Counter[tuple[int, int]]:
    """The same, from the home of every element; `homes` has the channels in front."""
    counted: Counter[tuple[int, int]] = Counter()
    for index, home in np.ndenumerate(homes):
        if home != NOWHERE:
            counted[index[0] // group_size, int(home)] += 1
    return counted


def moved(found: Plan) -> Counter[tuple[int, int]]:
    """Elements per (source, target) that ops bring together."""
    counted: Counter[tuple[int, int]] = Counter()
    for move in found.moves:
        for source, target, elements in zip(move.source, move.target, move.elements, strict=True):
            counted[int(source), int(target)] += int(elements)
    return counted


def front_homes(found: Plan) -> Homes:
    return behind(found, "front", (CHANNELS, HEIGHT, WIDTH))


def conv(channels: int) -> nn.Module:
    return nn.Conv2d(channels, 4, 1)


PORTS = np.full((3, HEIGHT, WIDTH), PORT)
SPACE = HEIGHT * WIDTH
STILL: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu_": lambda y: F.relu(y, inplace=True),
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "silu_": lambda y: F.silu(y, inplace=True),
    "mish": F.mish,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "clamp": lambda y: y.clamp(0, 1),
    "clamp_min": lambda y: y.clamp_min(0),
    "abs": torch.abs,
    "neg": lambda y: -y,
    "exp": torch.exp,
    "sqrt": torch.sqrt,
    "square": lambda y: y**2,
    "scale": lambda y: 2 * y / 3,
    "shift": lambda y: 1 - (y + 1) - 2,
    "add of itself": lambda y: y + y,
    "dropout": lambda y: F.dropout(y, training=False),
    "clone": torch.clone,
    "contiguous": lambda y: y.contiguous(),
    "detach": lambda y: y.detach(),
    "to": lambda y: y.double().float(),
    "max of itself": lambda y: torch.maximum(y, y),
}


@pytest.mark.parametrize("name", STILL)
def test_pointwise_ops_leave_elements_where_they_are(name: str) -> None:
    found = planned(lambda m, y, x: STILL[name](y), conv(CHANNELS))
    assert fetched(found) == expected(front_homes(found))
    assert not found.moves
    assert not found.fallback_ops


LAYERS: dict[str, nn.Module] = {
    "batch norm": nn.BatchNorm2d(CHANNELS),
    "prelu": nn.PReLU(CHANNELS),
    "dropout": nn.Dropout2d(0.5),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_constants_leave_elements_where_they_are(name: str) -> None:
    found = planned(lambda m, y, x: y, conv(CHANNELS), nn.Sequential(nn.Conv2d(3, CHANNELS, 1), LAYERS[name]))
    assert fetched(found) == expected(behind(found, "front.0", (CHANNELS, HEIGHT, WIDTH)))
    assert not found.moves
    assert not found.fallback_ops


def spatial(homes: Homes, height: int, width: int) -> Homes:
    """A result of another size whose channels stay where they are."""
    return np.broadcast_to(homes[:, :1, :1], (len(homes), height, width))


WINDOWS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, int]]] = {
    "max pool": (lambda y: F.max_pool2d(y, 2), (2, 2)),
    "max pool, padded": (lambda y: F.max_pool2d(y, 3, 2, 1), (2, 3)),
    "max pool, ceil": (lambda y: F.max_pool2d(y, 2, ceil_mode=True), (2, 3)),
    "max pool with indices": (lambda y: F.max_pool2d(y, 2, return_indices=True)[0], (2, 2)),
    "average pool": (lambda y: F.avg_pool2d(y, (2, 1)), (2, 5)),
    "adaptive average pool": (lambda y: F.adaptive_avg_pool2d(y, (3, 1)), (3, 1)),
    "global average pool": (lambda y: F.adaptive_avg_pool2d(y, 1), (1, 1)),
    "adaptive max pool": (lambda y: F.adaptive_max_pool2d(y, 2), (2, 2)),
    "nearest": (lambda y: F.interpolate(y, scale_factor=2), (8, 10)),
    "bilinear": (lambda y: F.interpolate(y, size=(5, 5), mode="bilinear"), (5, 5)),
    "mean, kept": (lambda y: y.mean((2, 3), keepdim=True), (1, 1)),
    "mean over rows": (lambda y: y.mean(2, keepdim=True), (1, 5)),
    "sum over columns": (lambda y: y.sum(-1, keepdim=True), (4, 1)),
    "amax": (lambda y: y.amax((2, 3), keepdim=True), (1, 1)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_pools_and_reductions_stay_where_their_channel_is(name: str) -> None:
    op, size = WINDOWS[name]
    found = planned(lambda m, y, x: op(y), conv(CHANNELS))
    assert fetched(found) == expected(spatial(front_homes(found), *size))
    assert not found.moves
    assert not found.fallback_ops


MOVEMENTS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], nn.Module, Callable[[Homes], Homes]]] = {
    "flatten": (lambda y, x: y.flatten(1), nn.Linear(CHANNELS * SPACE, 3), lambda h: h.reshape(-1)),
    "view": (lambda y, x: y.view(1, -1), nn.Linear(CHANNELS * SPACE, 3), lambda h: h.reshape(-1)),
    "reshape into channels": (lambda y, x: y.reshape(1, 12, 2, 5), conv(12), lambda h: h.reshape(12, 2, 5)),
    "view across channels": (lambda y, x: y.view(1, 8, 3, 5), conv(8), lambda h: h.reshape(8, 3, 5)),
    "mean": (lambda y, x: y.mean((2, 3)), nn.Linear(CHANNELS, 3), lambda h: h[:, 0, 0]),
    "permute, flatten": (
        lambda y, x: y.permute(0, 2, 3, 1).flatten(1),
        nn.Linear(CHANNELS * SPACE, 3),
        lambda h: h.transpose(1, 2, 0).reshape(-1),
    ),
    "tokens": (lambda y, x: y.flatten(2).transpose(1, 2), nn.Linear(CHANNELS, 3), lambda h: h.reshape(CHANNELS, -1)),
    "channels last": (lambda y, x: y.permute(0, 2, 3, 1), nn.Linear(CHANNELS, 3), lambda h: h),
    "rows as channels": (lambda y, x: y.permute(0, 2, 1, 3), conv(HEIGHT), lambda h: h.transpose(1, 0, 2)),
    "linear over columns": (lambda y, x: y, nn.Linear(WIDTH, 3), lambda h: h.transpose(2, 0, 1)),
    "slice of channels": (lambda y, x: y[:, 1:4], conv(3), lambda h: h[1:4]),
    "strided slice": (lambda y, x: y[:, ::2, 1:], conv(3), lambda h: h[::2, 1:]),
    "narrow": (lambda y, x: y.narrow(1, 3, 3), conv(3), lambda h: h[3:]),
    "select": (lambda y, x: y[:, :, 2], nn.Linear(WIDTH, 3), lambda h: h[:, 2].T),
    "chunk": (lambda y, x: y.chunk(2, 1)[1], conv(3), lambda h: h[3:]),
    "split": (lambda y, x: y.split(4, 1)[1], conv(2), lambda h: h[4:]),
    "split by sizes": (lambda y, x: y.split([1, 3, 2], 1)[1], conv(3), lambda h: h[1:4]),
    "unbind": (lambda y, x: torch.stack(y.unbind(1)[::-1], 1), conv(CHANNELS), lambda h: h[::-1]),
    "stack": (
        lambda y, x: torch.stack([y, y], 2).flatten(1, 2),
        conv(2 * CHANNELS),
        lambda h: np.repeat(h, 2, axis=0),
    ),
    "concatenation": (lambda y, x: torch.cat([x, y], 1), conv(CHANNELS + 3), lambda h: np.concatenate([PORTS, h])),
    "concatenation of columns": (
        lambda y, x: torch.cat([y[:, :3], x], 3),
        conv(3),
        lambda h: np.concatenate([h[:3], PORTS], axis=2),
    ),
    "flip": (lambda y, x: y.flip(1), conv(CHANNELS), lambda h: h[::-1]),
    "roll": (lambda y, x: y.roll(1, 1), conv(CHANNELS), lambda h: np.roll(h, 1, axis=0)),
    "repeat": (lambda y, x: y.repeat(1, 2, 1, 1), conv(2 * CHANNELS), lambda h: np.tile(h, (2, 1, 1))),
    "unsqueeze, squeeze": (lambda y, x: y.unsqueeze(1).squeeze(1), conv(CHANNELS), lambda h: h),
    "expand": (lambda y, x: y[:, :1].expand(-1, 4, -1, -1), conv(4), lambda h: np.repeat(h[:1], 4, axis=0)),
    "pixel unshuffle": (
        lambda y, x: F.pixel_unshuffle(y[..., :4], 2),
        conv(4 * CHANNELS),
        lambda h: np.repeat(h[:, ::2, :4:2], 4, axis=0),
    ),
    "channel shuffle": (
        lambda y, x: F.channel_shuffle(y, 2),
        conv(CHANNELS),
        lambda h: h.reshape(2, 3, HEIGHT, WIDTH).transpose(1, 0, 2, 3).reshape(h.shape),
    ),
    "pad with zeros": (
        lambda y, x: F.pad(y, (1, 0, 0, 2)),
        conv(CHANNELS),
        lambda h: np.pad(h, ((0, 0), (0, 2), (1, 0)), constant_values=NOWHERE),
    ),
    "pad of channels": (
        lambda y, x: F.pad(y, (0, 0, 0, 0, 1, 2)),
        conv(CHANNELS + 3),
        lambda h: np.pad(h, ((1, 2), (0, 0), (0, 0)), constant_values=NOWHERE),
    ),
    "reflected pad": (
        lambda y, x: F.pad(y, (1, 1, 2, 2), mode="reflect"),
        conv(CHANNELS),
        lambda h: np.pad(h, ((0, 0), (2, 2), (1, 1)), mode="reflect"),
    ),
    "circular pad": (
        lambda y, x: F.pad(y, (1, 1, 0, 0), mode="circular"),
        conv(CHANNELS),
        lambda h: np.pad(h, ((0, 0), (0, 0), (1, 1)), mode="wrap"),
    ),
}


@pytest.mark.parametrize("name", MOVEMENTS)
def test_ops_that_move_data_move_homes_alike(name: str) -> None:
    op, back, truth = MOVEMENTS[name]
    found = planned(lambda m, y, x: op(y, x), back)
    assert fetched(found) == expected(truth(front_homes(found)))
    assert not found.moves
    assert not found.fallback_ops


# ------------------------------------------------------------------------------- what a convolution reads

READS = {
    "strided 1x1": (nn.Conv2d(CHANNELS, 2, 1, stride=2), [0, 2], [0, 2, 4]),
    "stride 3": (nn.Conv2d(CHANNELS, 2, 1, stride=3), [0, 3], [0, 3]),
    "3x2": (nn.Conv2d(CHANNELS, 2, (3, 2)), [0, 1, 2, 3], [0, 1, 2, 3, 4]),
    "2x2, stride 3": (nn.Conv2d(CHANNELS, 2, 2, stride=3), [0, 1], [0, 1, 3, 4]),
    "rest that no window reaches": (nn.Conv2d(CHANNELS, 2, 2, stride=2), [0, 1, 2, 3], [0, 1, 2, 3]),
    "strided and padded": (nn.Conv2d(CHANNELS, 2, 1, stride=2, padding=1), [1, 3], [1, 3]),
    "padding of one axis": (nn.Conv2d(CHANNELS, 2, 1, stride=2, padding=(0, 1)), [0, 2], [1, 3]),
    "dilated": (nn.Conv2d(CHANNELS, 2, (2, 1), dilation=(3, 1), stride=(1, 2)), [0, 3], [0, 2, 4]),
    "same, even kernel": (nn.Conv2d(CHANNELS, 2, 2, padding="same"), [0, 1, 2, 3], [0, 1, 2, 3, 4]),
    "same, even kernel, dilated": (
        nn.Conv2d(CHANNELS, 2, 2, padding="same", dilation=4),
        [2, 3, 0, 1],
        [2, 3, 4, 0, 1],
    ),
    "valid": (nn.Conv2d(CHANNELS, 2, 1, stride=4, padding="valid"), [0], [0, 4]),
    "zero columns only": (nn.Conv2d(CHANNELS, 2, 1, stride=5, padding=(0, 2)), [0], [3]),
}


def read_by(layer: nn.Module, height: int, width: int) -> set[tuple[int, int]]:
    """Pixels that a convolution with positive weights passes a gradient to."""
    image = torch.zeros(1, CHANNELS, height, width, requires_grad=True)
    weight = torch.ones(1, CHANNELS, *layer.kernel_size)
    F.conv2d(image, weight, None, layer.stride, layer.padding, layer.dilation).sum().backward()
    return {(y, x) for y, x in image.grad[0, 0].nonzero().tolist()}


@pytest.mark.parametrize("name", READS)
def test_only_elements_that_some_weight_reads_are_counted(name: str) -> None:
    back, rows, columns = READS[name]
    found = planned(lambda m, y, x: y, back)
    assert read_by(back, HEIGHT, WIDTH) == {(y, x) for y in rows for x in columns}
    homes = front_homes(found)
    group_size = found.layers[-1].group_size  # smaller where few channels fit a tile
    assert fetched(found) == expected(homes[:, sorted(rows)][:, :, sorted(columns)], group_size)


def test_a_convolution_over_an_image_of_mixed_homes_counts_what_it_reads() -> None:
    found = planned(lambda m, y, x: torch.cat([y[:, :3], x], 2), nn.Conv2d(3, 2, 1, stride=3))
    homes = np.concatenate([front_homes(found)[:3], PORTS], axis=1)
    assert fetched(found) == expected(homes[:, ::3, ::3])


def test_the_odd_row_of_same_padding_lies_behind() -> None:
    """Of two rows, taps three apart reach only the first: rows -1 and 2, then 0 and 3."""
    back = nn.Conv2d(CHANNELS, 2, (2, 1), padding="same", dilation=(3, 1))
    assert read_by(back, 2, WIDTH) == {(0, x) for x in range(WIDTH)}
    found = planned(lambda m, y, x: torch.cat([y[:, :, :1], torch.cat([x, x], 1)[:, :, :1]], 2), back)
    assert fetched(found) == expected(front_homes(found)[:, :1], found.layers[-1].group_size)


def test_a_convolution_that_reads_nothing_but_padding_fetches_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1, stride=3, padding=1), nn.Flatten(), nn.Linear(3, 2))
    x = torch.zeros(1, 2, 1, 1)
    assert model(x).shape == (1, 2)
    found = plan(model, x, chip=CHIP, group_size=2)
    assert fetched(found, "0") == Counter()
    assert [layer.name for layer in found.layers] == ["0", "2"]


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_a_convolution_with_a_padding_mode_fetches_copies_for_the_border(mode: str) -> None:
    back = nn.Conv2d(CHANNELS, 2, 1, padding=(2, 1), padding_mode=mode)
    found = planned(lambda m, y, x: y, back)
    assert "back" in [layer.name for layer in found.layers]
    assert fetched(found) == expected(spatial(front_homes(found), HEIGHT + 4, WIDTH + 2))


# ------------------------------------------------------------------------------------ bringing together


def pairs(source: Homes, target: Homes) -> Counter[tuple[int, int]]:
    """Every element of `source` goes, once per tile, wherever `target` (of the broadcast shape) needs it."""
    needed = {
        (index, int(tile))
        for index, tile in zip(
            np.broadcast_to(np.arange(source.size).reshape(source.shape), target.shape).ravel().tolist(),
            target.ravel(),
            strict=True,
        )
    }
    flat = source.ravel()
    return Counter((int(flat[index]), tile) for index, tile in needed if flat[index] not in (tile, NOWHERE))


class Two(nn.Module):
    """Two convolutions of the input, brought together."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], channels: int = CHANNELS) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, CHANNELS, 1)
        self.b = nn.Conv2d(3, channels, 1)
        self.back = nn.Conv2d(CHANNELS, 4, 1)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.join(self.a(x), self.b(x)))


JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "add_": lambda a, b: a.add_(b),
    "mul_": lambda a, b: a.mul_(b),
}


@pytest.mark.parametrize("name", JOINS)
def test_the_second_operand_goes_to_the_first(name: str) -> None:
    found = plan(Two(JOINS[name]), torch.zeros(1, 3, HEIGHT, WIDTH), chip=CHIP, group_size=2)
    a, b = (behind(found, n, (CHANNELS, HEIGHT, WIDTH)) for n in "ab")
    assert moved(found) == pairs(b, a)
    assert sum(moved(found).values()) == CHANNELS * SPACE
    (move,) = found.moves
    assert [move.producers[k] for k in set(move.producer.tolist())] == [
        layer.node for layer in found.layers if layer.name == "b"
    ]
    assert fetched(found) == expected(a)
    assert not found.fallback_ops


def test_a_sum_of_three_moves_each_addend_to_the_first() -> None:
    found = planned(lambda m, y, x: y + torch.cat([x, x], 1) + y.flip(1), conv(CHANNELS))
    homes = front_homes(found)
    assert moved(found) == pairs(np.concatenate([PORTS, PORTS]), homes) + pairs(homes[::-1], homes)
    assert fetched(found) == expected(homes)


def test_the_network_input_as_first_operand_draws_the_sum_to_the_port() -> None:
    found = planned(lambda m, y, x: x + y[:, :3], conv(3))
    assert moved(found) == pairs(front_homes(found)[:3], PORTS)
    assert fetched(found) == expected(PORTS)


class SqueezeExcite(nn.Module):
    """Channels weighed by a small network's view of their means."""

    def __init__(self, scale_first: bool) -> None:
        super().__init__()
        self.front = nn.Conv2d(3, CHANNELS, 1)
        self.fc1 = nn.Linear(CHANNELS, 4)
        self.fc2 = nn.Linear(4, CHANNELS)
        self.back = nn.Conv2d(CHANNELS, 4, 1)
        self.scale_first = scale_first

    def forward(self, x: Tensor) -> Tensor:
        y = self.front(x)
        scale = torch.sigmoid(self.fc2(F.relu(self.fc1(y.mean((2, 3)))))).unsqueeze(-1).unsqueeze(-1)
        return self.back(scale * y if self.scale_first else y * scale)


@pytest.mark.parametrize("scale_first", [False, True])
def test_squeeze_excite_brings_the_scale_to_the_map_whichever_comes_first(scale_first: bool) -> None:
    found = plan(SqueezeExcite(scale_first), torch.zeros(1, 3, HEIGHT, WIDTH), chip=CHIP, group_size=2)
    image, scale = front_homes(found), behind(found, "fc2", (CHANNELS, 1, 1))
    assert not set(image.ravel()) & set(scale.ravel())
    assert moved(found) == pairs(scale, image)
    assert sum(moved(found).values()) == CHANNELS
    assert fetched(found) == expected(image)
    assert not found.fallback_ops


@pytest.mark.parametrize("reverse", [False, True])
def test_a_map_that_weighs_all_channels_goes_once_to_each_of_their_tiles(reverse: bool) -> None:
    """One channel for all, so each of its elements is needed on three tiles, but only once on each."""

    def weigh(m: nn.Module, y: Tensor, x: Tensor) -> Tensor:
        mask = y[:, 5:]
        return mask * y if reverse else y * mask

    found = planned(weigh, conv(CHANNELS))
    homes = front_homes(found)
    assert moved(found) == pairs(homes[5:], homes)
    assert sum(moved(found).values()) == 2 * SPACE
    assert fetched(found) == expected(homes)


def test_a_lower_dimensional_operand_is_broadcast_from_the_right() -> None:
    found = planned(lambda m, y, x: y + y.mean((2, 3)).view(CHANNELS)[:WIDTH], conv(CHANNELS))
    homes = front_homes(found)
    assert moved(found) == pairs(homes[:WIDTH, 0, 0], homes)
    assert fetched(found) == expected(homes)


# --------------------------------------------------------------------------------------------- constants

CONSTANTS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[Homes], Homes]]] = {
    "parameter added": (lambda m, y: y + m.token, lambda h: h),
    "parameter first": (lambda m, y: m.token + y, lambda h: h),
    "buffer first": (lambda m, y: m.table * y, lambda h: h),
    "parameter first, larger": (lambda m, y: m.token * y[:, :1], lambda h: np.repeat(h[:1], CHANNELS, axis=0)),
    "zeros made on the way": (lambda m, y: torch.zeros_like(y) + y, lambda h: h),
    "concatenated": (
        lambda m, y: torch.cat([m.token, y[:, :2]], 1)[:, 2:],
        lambda h: np.concatenate([np.full((4, HEIGHT, WIDTH), NOWHERE), h[:2]]),
    ),
    "partly constant first": (
        lambda m, y: torch.cat([m.token[:, :3], y[:, :3]], 1) + y,
        lambda h: np.concatenate([h[:3], h[:3]]),
    ),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_do_not_travel(name: str) -> None:
    op, truth = CONSTANTS[name]
    found = planned(lambda m, y, x: op(m, y), conv(CHANNELS))
    homes = front_homes(found)
    assert fetched(found) == expected(truth(homes))
    assert moved(found) == (pairs(homes[3:], homes[:3]) if name == "partly constant first" else Counter())
    assert not found.fallback_ops


def test_a_layer_of_constants_only_fetches_nothing() -> None:
    found = planned(lambda m, y, x: m.token * 2, conv(CHANNELS))
    assert fetched(found) == Counter()
    assert not found.moves


# ---------------------------------------------------------------------------------------------- fallback

UNKNOWN: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "inverse": (lambda y, x: torch.linalg.inv(y[..., :HEIGHT]), "aten.linalg_inv.default"),
    "buckets": (lambda y, x: torch.bucketize(y, x[0, 0, 0]).float(), "aten.bucketize.Tensor"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_op_gathers_everything_at_its_first_element_and_is_listed(name: str) -> None:
    op, listed = UNKNOWN[name]
    found = planned(lambda m, y, x: op(y, x), conv(CHANNELS))
    homes = front_homes(found)
    if name == "inverse":
        homes = homes[..., :HEIGHT]
    first = np.full(homes.shape, homes.ravel()[0])
    boundaries = PORTS[0, 0] if name == "buckets" else PORTS[:0]
    assert found.fallback_ops == (listed,)
    assert moved(found) == pairs(homes, first) + pairs(boundaries, np.full(boundaries.shape, first.ravel()[0]))
    assert fetched(found) == expected(first)
    bits = np.bincount(*all_bits(found))
    number = [phase.node for phase in phases_of(found)].index(found.moves[0].node)
    assert found.fallback_share == pytest.approx(bits[number] / bits.sum(), rel=1e-12)
    assert found.fallback_share > 0
    assert f"no rule for {listed}" in found.summary()


def all_bits(found: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    transfers, _ = all_transfers(found, found.full())
    return transfers.phase, transfers.bits


# ------------------------------------------------------------------------------ graphs inside of an op


class Frozen(nn.Module):
    """A part without gradients, and one without autocast, which export as ops with a graph inside."""

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.front, self.back = nn.Conv2d(3, CHANNELS, 1), conv(CHANNELS)
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        y = self.front(x)
        if not self.inside:
            return self.back(y.softmax(1) + y.flip(1))
        with torch.no_grad():
            z = y.softmax(1)
        with torch.autocast("cpu", enabled=False):
            z = z + y.flip(1)
        return self.back(z)


def test_ops_without_gradients_or_autocast_follow_their_rules() -> None:
    plain, found = (
        plan(Frozen(inside), torch.zeros(1, 3, HEIGHT, WIDTH), chip=CHIP, group_size=2) for inside in (0, 1)
    )
    assert any("wrap_with" in move.op for move in found.moves)
    assert moved(found) == moved(plain) != Counter()
    assert fetched(found) == fetched(plain)


COMPOSITE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "einsum": (
        lambda y: torch.einsum("bchw,bdhw->bcd", y, y.flip(1))[..., None],
        lambda y: (y.flatten(2) @ y.flip(1).flatten(2).transpose(1, 2))[..., None],
    ),
    "glu": (
        lambda y: torch.cat([F.glu(y, 1)] * 2, 1),
        lambda y: torch.cat([y.chunk(2, 1)[0] * y.chunk(2, 1)[1].sigmoid()] * 2, 1),
    ),
    "logsumexp of squares": (lambda y: y - y.square().logsumexp(1, True), lambda y: y - y.sum(1, keepdim=True)),
    "multi-head attention": (
        lambda y: F.scaled_dot_product_attention(*[y.flatten(2).view(1, 2, 3, SPACE)] * 3).view(y.shape),
        lambda y: (lambda q: ((q @ q.transpose(-2, -1)).softmax(-1) @ q).view(y.shape))(
            y.flatten(2).view(1, 2, 3, SPACE)
        ),
    ),
}


@pytest.mark.parametrize("name", COMPOSITE)
def test_a_composite_op_costs_what_its_parts_cost(name: str) -> None:
    composite, parts = (planned(lambda m, y, x, op=op: op(y), conv(CHANNELS)) for op in COMPOSITE[name])
    assert composite.fallback_ops == ()
    assert moved(composite) == moved(parts) != Counter()
    assert fetched(composite) == fetched(parts)


def test_a_convolution_off_the_crossbars_runs_where_its_group_begins() -> None:
    found = planned(lambda m, y, x: y, nn.Conv2d(CHANNELS, 4, 1, groups=2))
    homes = front_homes(found)
    assert moved(found) == pairs(homes, np.repeat(homes[::3], 3, axis=0)), "each group to its first channel"
    assert found.fallback_ops == (), "it is listed as not mapped"
    assert [layer.name for layer in found.unmapped] == ["back"]


def test_unknown_ops_of_constants_move_nothing_and_are_not_listed() -> None:
    found = planned(lambda m, y, x: y + m.token.softmax(1).cumsum(1), conv(CHANNELS))
    assert fetched(found) == expected(front_homes(found))
    assert not found.moves
    assert not found.fallback_ops


def test_the_network_input_starts_at_the_port() -> None:
    found = planned(lambda m, y, x: y, conv(CHANNELS))
    assert fetched(found, "front") == Counter({(0, PORT): 2 * SPACE, (1, PORT): SPACE})


def test_a_slice_that_is_assigned_to_takes_its_home_along() -> None:
    """z = zeros; z[:, :4] = y: the shortcut of a ResNet whose channels are padded."""

    def pad(m: Between, y: Tensor, x: Tensor) -> Tensor:
        z = torch.zeros(1, CHANNELS + 2, HEIGHT, WIDTH)
        z[:, :CHANNELS] = y
        return z

    found = planned(pad, conv(CHANNELS + 2))
    homes = np.full((CHANNELS + 2, HEIGHT, WIDTH), NOWHERE)
    homes[:CHANNELS] = front_homes(found)
    assert fetched(found) == expected(homes)
    assert not found.moves
    assert not found.fallback_ops


def test_pooling_without_a_batch() -> None:
    found = planned(lambda m, y, x: F.max_pool2d(y[0], 2)[None], conv(CHANNELS))
    assert fetched(found) == expected(front_homes(found)[:, ::2, :4:2])
    assert not found.moves
