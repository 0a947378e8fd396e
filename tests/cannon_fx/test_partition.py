"""Partition: the split against its rule, layers chosen by pattern, and a true reason for all that stays off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracle import chip
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from cannon_fx.compile import apply_cannon, plan
from cannon_fx.errors import MappingError
from cannon_fx.hw.errors import ChipError
from cannon_fx.layer import Layer

CHIP = chip(rows=8, columns=8)


class Many(nn.Module):
    """Layers of many shapes side by side, each over a slice of the input."""

    SHAPES = (
        (1, 1, None), (3, 7, None), (16, 5, None), (17, 8, None), (40, 9, None), (64, 1, None), (33, 33, None),
        (1, 1, (1, 1)), (4, 3, (3, 3)), (7, 12, (3, 3)), (32, 4, (3, 3)), (31, 16, (1, 1)), (9, 2, (2, 2)),
        (20, 6, (1, 3)), (5, 5, (5, 1)), (8, 8, (2, 3)),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(k, n) if kernel is None else nn.Conv2d(k, n, kernel) for k, n, kernel in self.SHAPES
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            layer(x[:, : shape[0]] if shape[2] else x[:, : shape[0], 0, 0])
            for layer, shape in zip(self.layers, self.SHAPES, strict=True)
        ]


def split(tile_rows: int, channels: int, taps: int, group_size: int) -> tuple[int, int]:
    """(group size, channels per row block) by the rule, with the rows of a tile counted one channel at a time."""
    fits = 0
    while fits < channels and (fits + 1) * taps <= tile_rows:
        fits += 1
    if fits == channels:
        return min(group_size, channels), channels
    if fits < group_size:
        return fits, fits
    block = 0
    while block + group_size <= fits:
        block += group_size
    return group_size, block


@pytest.mark.parametrize("group_size", [1, 3, 4, 16])
@pytest.mark.parametrize(
    ("rows", "pe_rows", "columns", "pe_columns"), [(9, 1, 4, 1), (7, 2, 16, 1), (16, 2, 13, 2), (64, 1, 32, 1)]
)
def test_the_split_follows_the_rule(rows: int, pe_rows: int, columns: int, pe_columns: int, group_size: int) -> None:
    chosen = chip(rows=rows, pe_rows=pe_rows, columns=columns, pe_columns=pe_columns)
    tile_rows, tile_columns = rows * pe_rows, pe_columns * (columns // 4)
    found = plan(Many(), torch.zeros(1, 64, 6, 6), chip=chosen, group_size=group_size)
    assert [layer.name for layer in found.layers] == [f"layers.{k}" for k in range(len(Many.SHAPES))]
    next_tile = 0
    for layer, (channels, out, kernel) in zip(found.layers, Many.SHAPES, strict=True):
        taps = kernel[0] * kernel[1] if kernel else 1
        assert layer.kind == ("conv2d" if kernel else "linear")
        assert (layer.in_channels, layer.out_channels, layer.taps) == (channels, out, taps)
        assert (layer.group_size, layer.row_channels) == split(tile_rows, channels, taps, group_size)
        assert layer.out_block == min(out, tile_columns)
        assert layer.positions == ((7 - kernel[0]) * (7 - kernel[1]) if kernel else 1)
        assert layer.first_tile == next_tile
        next_tile += walk(layer, tile_rows, tile_columns)
    assert found.tiles == found.placed().tiles == next_tile
    assert len(set(found.placed().node[:-1].tolist())) == next_tile
    assert found.full()["layers.0"].shape == (found.layers[0].column_blocks, found.layers[0].groups)


def walk(layer: Layer, tile_rows: int, tile_columns: int) -> int:
    """Checks every weight's place one by one; returns the number of tiles."""
    held: dict[tuple[int, int], set[tuple[int, int]]] = {}
    weights = np.zeros((layer.column_blocks, layer.groups), np.int64)
    groups: dict[int, set[int]] = {}
    for c in range(layer.in_channels):
        groups.setdefault(c // layer.group_size, set()).add(c // layer.row_channels)
        for n in range(layer.out_channels):
            held.setdefault((c // layer.row_channels, n // layer.out_block), set()).add((c, n))
            weights[n // layer.out_block, c // layer.group_size] += layer.taps
    assert len(groups) == layer.groups
    assert all(len(blocks) == 1 for blocks in groups.values())
    assert layer.row_block_of.tolist() == [next(iter(groups[g])) for g in range(layer.groups)]
    assert layer.weights_of_connection.tolist() == weights.tolist()
    assert layer.row_blocks == 1 + max(i for i, _ in held)
    assert layer.column_blocks == 1 + max(j for _, j in held)
    for (i, j), pairs in held.items():
        rows, columns = {c for c, _ in pairs}, {n for _, n in pairs}
        assert len(rows) * layer.taps <= tile_rows
        assert len(columns) <= tile_columns
        assert layer.column_channels[j] == len(columns)
        assert layer.tile_of[i, j] == layer.first_tile + j * layer.row_blocks + i
        assert all(layer.home_of_channel[n] == layer.accumulator[j] for n in columns)
    middle = layer.row_blocks // 2
    assert layer.accumulator.tolist() == [
        layer.first_tile + j * layer.row_blocks + middle for j in range(layer.column_blocks)
    ]
    assert layer.tile_of.size == layer.tiles == len(held)
    return len(held)


def test_tiles_have_one_layer_each() -> None:
    found = plan(Many(), torch.zeros(1, 64, 6, 6), chip=CHIP)
    tiles = [tile for layer in found.layers for tile in layer.tile_of.ravel().tolist()]
    assert sorted(tiles) == list(range(found.tiles))


# ---------------------------------------------------------------------------------------------- obstacles


class Net(nn.Module):
    """`modules` around a forward function; `head` is a plain linear layer, so that something is mapped."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.head = nn.Linear(4, 2)
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self, x))


class ByHand(nn.Linear):
    """As transformers' FalconLinear."""

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight.T + self.bias


class Subclass(nn.Linear):
    """Computes what nn.Linear does, but the compiler cannot know that."""


def reasons(model: nn.Module, x: Tensor) -> dict[str, str]:
    """Why each layer but `head` is not mapped; each is named once."""
    found = plan(model, x, chip=CHIP)
    assert [layer.name for layer in found.layers] == ["head"]
    names = [unmapped.name for unmapped in found.unmapped]
    assert len(names) == len(set(names)), names
    return {unmapped.name: unmapped.reason for unmapped in found.unmapped}


IMAGE = torch.zeros(1, 4, 3, 3)
VECTOR = torch.zeros(1, 4)
OBSTACLES: dict[str, tuple[Net, Tensor, str]] = {
    "grouped": (
        Net(lambda m, x: m.a(x).mean((2, 3)), a=nn.Conv2d(4, 4, 1, groups=2)),
        IMAGE,
        "grouped convolution (2 groups)",
    ),
    "depthwise": (
        Net(lambda m, x: m.a(x).mean((2, 3)), a=nn.Conv2d(4, 4, 1, groups=4)),
        IMAGE,
        "grouped convolution (4 groups)",
    ),
    "conv1d": (Net(lambda m, x: m.a(x).mean(2), a=nn.Conv1d(4, 4, 1)), torch.zeros(1, 4, 3), "conv1d is not mapped"),
    "conv1d, same": (
        Net(lambda m, x: m.a(x).mean(2), a=nn.Conv1d(4, 4, 3, padding="same")),
        torch.zeros(1, 4, 3),
        "conv1d is not mapped",
    ),
    "conv3d": (
        Net(lambda m, x: m.a(x).mean((2, 3, 4)), a=nn.Conv3d(4, 4, 1)),
        torch.zeros(1, 4, 2, 2, 2),
        "conv3d is not mapped",
    ),
    "transposed": (
        Net(lambda m, x: m.a(x).mean((2, 3)), a=nn.ConvTranspose2d(4, 4, 2)),
        IMAGE,
        "conv_transpose2d is not mapped",
    ),
    "shared": (Net(lambda m, x: m.a(m.a(x)), a=nn.Linear(4, 4)), VECTOR, "its weight is used more than once"),
    "functional": (
        Net(lambda m, x: F.conv2d(x, m.a.weight).mean((2, 3)), a=nn.Conv2d(4, 4, 1)),
        IMAGE,
        "its weight is read outside its own module",
    ),
    "transposed, functional": (
        Net(lambda m, x: torch.addmm(x[0], x, m.a.weight), a=nn.Linear(4, 4)),
        VECTOR,
        "its weight is read transposed",
    ),
    "used by another op too": (
        Net(lambda m, x: m.a(x) * m.a.weight.sum(), a=nn.Linear(4, 4)),
        VECTOR,
        "its weight is used more than once",
    ),
    "also functional": (
        Net(lambda m, x: m.a(x) + F.linear(x, m.a.weight), a=nn.Linear(4, 4)),
        VECTOR,
        "its weight is used more than once",
    ),
    "subclass": (Net(lambda m, x: m.a(x), a=Subclass(4, 4)), VECTOR, "Subclass is not exactly nn.Linear or nn.Conv2d"),
    "by hand": (Net(lambda m, x: m.a(x), a=ByHand(4, 4)), VECTOR, "ByHand multiplies in a way of its own"),
    "parametrised": (
        Net(lambda m, x: m.a(x), a=parametrizations.weight_norm(nn.Linear(4, 4))),
        VECTOR,
        "its weight is parametrised",
    ),
    "no batch": (Net(lambda m, x: m.a(x[0]).mean((1, 2))[None], a=nn.Conv2d(4, 4, 1)), IMAGE, "no batch dimension"),
    "too many taps": (
        Net(lambda m, x: m.a(x).mean((2, 3)), a=nn.Conv2d(4, 4, 3)),
        IMAGE,
        "its 9 taps do not fit the 8 rows of a tile",
    ),
    "never run": (Net(lambda m, x: x, a=nn.Linear(4, 4)), VECTOR, "does not run in eval mode"),
    "run in training only": (
        Net(lambda m, x: m.a(x) if m.training else x, a=nn.Linear(4, 4)),
        VECTOR,
        "does not run in eval mode",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_a_layer_that_cannot_be_mapped_is_listed_once_with_the_reason(name: str) -> None:
    model, x, reason = OBSTACLES[name]
    found = reasons(model, x)
    assert list(found) == ["a"]
    assert reason in found["a"]


def test_the_taps_that_just_fit_are_mapped() -> None:
    model = Net(lambda m, x: m.a(x).mean((2, 3)), a=nn.Conv2d(4, 4, (2, 4), padding=1))
    layer = plan(model, IMAGE, chip=CHIP).layers[0]
    assert (layer.name, layer.group_size, layer.row_channels, layer.row_blocks) == ("a", 1, 1, 4)


def test_a_weight_that_two_modules_share_keeps_both_off() -> None:
    model = Net(lambda m, x: m.b(m.a(x)), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    model.b.weight = model.a.weight
    found = reasons(model, VECTOR)
    assert found == {"a": "its weight is also b.weight", "b": "its weight is also a.weight"}


def test_a_computed_weight_is_named_by_its_graph_node() -> None:
    model = Net(lambda m, x: F.linear(x, 2 * m.w), w=nn.Parameter(torch.zeros(4, 4)))
    assert reasons(model, VECTOR) == {
        "(graph node linear)": "its weight belongs to no linear or convolution module of its own"
    }


@pytest.mark.parametrize("model", [nn.Linear(4, 4), nn.Conv2d(4, 4, 1)])
def test_a_model_may_be_one_layer(model: nn.Module) -> None:
    example = VECTOR if isinstance(model, nn.Linear) else IMAGE
    found, wrapped = plan(model, example, chip=CHIP), plan(nn.Sequential(model), example, chip=CHIP)
    assert [layer.name for layer in found.layers] == [""]
    assert not found.unmapped
    assert (found.tiles, found.cost().energy_pj) == (wrapped.tiles, wrapped.cost().energy_pj)
    assert "(the model)" in found.summary()


def test_a_weight_of_the_model_itself_is_not_taken_for_the_whole_model() -> None:
    model = Net(lambda m, x: F.linear(x, m.weight), weight=nn.Parameter(torch.zeros(4, 4)))
    found = reasons(model, VECTOR)
    assert list(found) == ["weight"]
    assert "of its own" in found["weight"]


def test_a_parameter_whose_name_ends_in_weight_gives_no_layer_a_made_up_name() -> None:
    """As in nn.MultiheadAttention, whose projections are one parameter, in_proj_weight."""
    model = Net(
        lambda m, x: F.linear(m.a(x, x, x)[0].mean(1), m.up_weight),
        a=nn.MultiheadAttention(4, 2, batch_first=True),
        up_weight=nn.Parameter(torch.zeros(4, 4)),
    )
    found = plan(model, torch.zeros(1, 3, 4), chip=CHIP)
    assert [layer.name for layer in found.layers] == ["a.out_proj", "head"]
    assert {unmapped.name for unmapped in found.unmapped} == {"a.in_proj_weight", "up_weight"}


# ----------------------------------------------------------------------------------------------- patterns


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.block1 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.block2 = nn.Sequential(nn.Conv2d(4, 4, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block2(self.block1(self.stem(x))).mean((2, 3)))


ALL = ["stem", "block1.0", "block1.2", "block2.0", "head"]


def mapped(**options: Any) -> list[str]:
    found = plan(Named(), torch.zeros(1, 3, 2, 2), chip=CHIP, **options)
    names = [layer.name for layer in found.layers]
    assert sorted(names + [unmapped.name for unmapped in found.unmapped]) == sorted(ALL)
    return names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("stem", ["stem"]),
        ("block1.*", ["block1.0", "block1.2"]),
        ("block?.0", ["block1.0", "block2.0"]),
        ("block[2-9].*", ["block2.0"]),
        ("*", ALL),
        ("Linear", ["head"]),
        ("Conv2d", ALL[:-1]),
        (r"re:block\d\.0", ["block1.0", "block2.0"]),
        ("re:.*2.*", ["block1.2", "block2.0"]),
        ("re:head|stem", ["stem", "head"]),
    ],
)
def test_targets_and_ignore_select_by_name_glob_class_and_expression(pattern: str, names: list[str]) -> None:
    assert mapped(targets=[pattern]) == names
    assert mapped(ignore=[pattern]) == [name for name in ALL if name not in names]


def test_patterns_add_up_and_ignore_wins() -> None:
    assert mapped(targets=["stem", "head"]) == ["stem", "head"]
    assert mapped(targets=["Conv2d"], ignore=["stem", "re:.*\\.2"]) == ["block1.0", "block2.0"]


def test_unchosen_layers_are_listed_with_their_reason_and_take_no_tile() -> None:
    found = plan(Named(), torch.zeros(1, 3, 2, 2), chip=CHIP, targets=["block*", "head"], ignore=["head"])
    assert {(u.name, u.reason) for u in found.unmapped} == {
        ("stem", "not among the targets"), ("head", "ignored on request")
    }  # fmt: skip
    assert found.layers[0].first_tile == 0


@pytest.mark.parametrize("option", ["targets", "ignore"])
@pytest.mark.parametrize("pattern", ["steem", "re:stem.+", "block", "conv2d", "head.*", "re:tem"])
def test_a_pattern_that_matches_nothing_is_an_error_with_near_names(option: str, pattern: str) -> None:
    with pytest.raises(MappingError, match="matches none of the 5 layers") as caught:
        mapped(**{option: [pattern]})
    message = str(caught.value)
    assert repr(pattern) in message
    assert option in message
    assert any(name in message.split("Near names:")[1] for name in ALL)


def test_the_nearest_name_is_named() -> None:
    with pytest.raises(MappingError, match=r"Near names: stem"):
        mapped(ignore=["steem"])


def test_a_broken_expression_is_an_error() -> None:
    with pytest.raises(MappingError, match=r"'re:\('"):
        mapped(targets=["re:("])


# ------------------------------------------------------------------------------------------------- errors


def test_targets_of_which_none_can_be_mapped_are_an_error_with_the_reasons() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1))
    with pytest.raises(MappingError, match=r"none of the targets 0 can be .*: 0: grouped convolution \(2 groups\)\."):
        plan(model, IMAGE, chip=CHIP, targets=["0"])


@pytest.mark.parametrize("size", [0, -1])
def test_a_group_size_below_one_is_an_error(size: int) -> None:
    with pytest.raises(MappingError, match=f"group_size is {size}"):
        mapped(group_size=size)


def test_a_chip_with_too_few_tiles_is_an_error_with_both_numbers() -> None:
    model, x = nn.Sequential(nn.Linear(40, 7)), torch.zeros(1, 40)  # 5 x 4 tiles of 8 x 2 weights
    exact = plan(model, x, chip=chip(rows=8, columns=8, mesh="columns = 5\nrows = 4"), group_size=4)
    assert exact.tiles == 20
    with pytest.raises(ChipError, match=r"needs 20 tiles.*19 x 1 = 19"):
        plan(model, x, chip=chip(rows=8, columns=8, mesh="columns = 19\nrows = 1"), group_size=4)


def test_a_model_that_was_rewritten_already_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    apply_cannon(model, VECTOR, chip=CHIP)
    with pytest.raises(MappingError, match="already holds block-sparse layers"):
        plan(model, VECTOR, chip=CHIP)


def test_other_ops_with_weights_are_listed() -> None:
    """Embeddings, recurrent layers and plain matrix products hold weights too; none is skipped silently."""
    model = Net(
        lambda m, x: m.a(m.lstm(x @ m.w)[0][:, -1] + m.embedding(torch.zeros(1, dtype=torch.long))),
        a=nn.Linear(4, 4),
        w=nn.Parameter(torch.zeros(4, 4)),
        lstm=nn.LSTM(4, 4, batch_first=True),
        embedding=nn.Embedding(3, 4),
    )
    found = {skipped.name: skipped.reason for skipped in plan(model, torch.zeros(1, 3, 4), chip=CHIP).unmapped}
    assert set(found) == {"w", "embedding.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    assert "looked up" in found["embedding.weight"]
    assert found["lstm.weight_ih_l0"].startswith("a recurrent layer")
    assert "outside of any linear" in found["w"]
