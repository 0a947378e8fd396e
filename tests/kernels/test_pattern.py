"""Block patterns against loops over single weights, ragged edges among them, and the reference's gradient."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import masked_weight

SHAPES = [(1, 1, 1, 1), (4, 6, 2, 3), (5, 7, 2, 3), (7, 5, 3, 5), (3, 4, 8, 8), (6, 9, 6, 1), (9, 2, 4, 2)]


def pattern(out: int, inp: int, out_block: int, group_size: int, seed: int = 0) -> BlockPattern:
    shape = -(-out // out_block), -(-inp // group_size)
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return BlockPattern(keep, out, inp, out_block, group_size)


@pytest.mark.parametrize("shape", SHAPES)
def test_spread_gives_each_pair_of_channels_its_block(shape: tuple[int, int, int, int]) -> None:
    out, inp, out_block, group_size = shape
    made = pattern(*shape)
    assert made.shape == tuple(made.keep.shape)
    values = torch.arange(made.keep.numel()).view(made.shape)
    spread, mask = made.spread(values), made.spread(made.keep)
    assert spread.shape == mask.shape == (out, inp)
    assert mask.dtype == torch.bool
    for n, c in itertools.product(range(out), range(inp)):
        assert spread[n, c] == values[n // out_block, c // group_size]
        assert mask[n, c] == made.keep[n // out_block, c // group_size]


@pytest.mark.parametrize("taps", [(), (3, 2), (1, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_add_up_every_weight_of_a_block(shape: tuple[int, int, int, int], taps: tuple[int, ...]) -> None:
    out, inp, out_block, group_size = shape
    made = pattern(*shape)
    weight = torch.randint(-50, 50, (out, inp, *taps)).double()
    expected, counted = torch.zeros(made.shape).double(), torch.zeros(made.shape)
    for index in itertools.product(*map(range, weight.shape)):
        expected[index[0] // out_block, index[1] // group_size] += weight[index]
        counted[index[0] // out_block, index[1] // group_size] += 1
    assert torch.equal(made.sums(weight), expected)
    assert torch.equal(made.sums(torch.ones_like(weight)), counted)


def test_sums_pass_gradients_to_every_weight() -> None:
    made = pattern(5, 7, 2, 3)
    weight = torch.randn(5, 7, 2, 2, requires_grad=True)
    upstream = torch.randn(made.shape)
    (made.sums(weight) * upstream).sum().backward()
    assert torch.equal(weight.grad, made.spread(upstream)[:, :, None, None].expand_as(weight))


@pytest.mark.parametrize(
    "keep",
    [
        torch.ones(3, 2, dtype=torch.bool),
        torch.ones(2, 4, dtype=torch.bool),
        torch.ones(6, dtype=torch.bool),
        torch.ones(3, 3),
        torch.ones(3, 3, dtype=torch.int64),
        torch.ones(1, 3, 3, dtype=torch.bool),
    ],
)
def test_a_mask_of_another_shape_or_type_is_refused(keep: Tensor) -> None:
    BlockPattern(torch.ones(3, 3, dtype=torch.bool), 5, 7, 2, 3)
    with pytest.raises(ValueError, match=r"5 x 7 channels in blocks of 2 x 3 needs bool \[3, 3\]") as caught:
        BlockPattern(keep, 5, 7, 2, 3)
    assert str(list(keep.shape)) in str(caught.value)
    assert str(keep.dtype) in str(caught.value)


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("blocks", [(1, 1), (4, 3), (3, 7)])
def test_index_lists_name_every_kept_block_in_both_orders(blocks: tuple[int, int], density: float) -> None:
    keep = torch.rand(blocks, generator=torch.Generator().manual_seed(2)) < density
    made = BlockPattern(keep, *blocks, 1, 1)
    lists = made.lists(keep.device)
    assert made.nnz == int(keep.sum())
    assert made.density == made.nnz / keep.numel()
    kept = [(j, g) for j, g in itertools.product(range(blocks[0]), range(blocks[1])) if keep[j, g]]
    assert [tuple(pair) for pair in lists.block_of.tolist()] == kept
    for j in range(blocks[0]):
        row = lists.row_group[lists.row_start[j] : lists.row_start[j + 1]].tolist()
        assert row == [g for g in range(blocks[1]) if keep[j, g]]
    for g in range(blocks[1]):
        span = slice(int(lists.col_start[g]), int(lists.col_start[g + 1]))
        assert lists.col_block[span].tolist() == [j for j in range(blocks[0]) if keep[j, g]]
        assert [kept[slot] for slot in lists.col_slot[span].tolist()] == [
            (j, g) for j in lists.col_block[span].tolist()
        ]
    assert len(lists.row_group) == len(lists.col_block) == made.nnz + 1
    assert len(lists.col_slot) == made.nnz
    assert all(tensor.dtype == torch.int32 and tensor.is_contiguous() for tensor in vars(lists).values())
    assert made.lists(keep.device) is lists


@pytest.mark.parametrize("sizes", [(0, 4, 1, 1), (4, 4, 0, 1), (4, 4, 1, -1)])
def test_sizes_must_be_positive(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        BlockPattern(torch.ones(1, 1, dtype=torch.bool), *sizes)


@pytest.mark.parametrize("taps", [(), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_masked_weight_and_its_gradient_are_zero_where_cut(
    shape: tuple[int, int, int, int], dtype: torch.dtype, taps: tuple[int, ...]
) -> None:
    out, inp, out_block, group_size = shape
    made = pattern(*shape, seed=1)
    weight = torch.randn(out, inp, *taps).to(dtype).requires_grad_()
    masked = masked_weight(weight, made.spread(made.keep))
    assert masked.dtype == dtype
    upstream = torch.randn(out, inp, *taps).to(dtype)
    masked.backward(upstream)
    for index in itertools.product(*map(range, weight.shape)):
        kept = bool(made.keep[index[0] // out_block, index[1] // group_size])
        assert masked[index] == (weight[index] if kept else 0)
        assert weight.grad[index] == (upstream[index] if kept else 0)


def test_the_patterns_tried_cut_some_and_keep_some() -> None:
    masks = [pattern(*shape, seed=seed).keep for shape in SHAPES for seed in (0, 1)]
    assert sum(bool(mask.any()) and not bool(mask.all()) for mask in masks) >= 6
