"""Schedules against loops over the pattern."""

from __future__ import annotations

import gc

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cannon_fx.kernels.pattern import BlockLists, index_lists
from cannon_fx.kernels.triton import schedule
from cannon_fx.kernels.triton.schedule import Schedule, forward_schedule, grad_input_schedule, grad_weight_tiles


def lists_of(seed: int, blocks: int, groups_of_channels: int, density: float) -> tuple[Tensor, BlockLists]:
    keep = torch.rand(blocks, groups_of_channels, generator=torch.Generator().manual_seed(seed)) < density
    return keep, index_lists(keep)


def visits(made: Schedule, group: int) -> dict[int, list[tuple[int, list[int]]]]:
    """Span -> (block of k, slots) of its entries."""
    first = group * made.spans
    return {
        span: [
            (int(made.block[entry]), made.slot[entry].tolist())
            for entry in range(int(made.start[first + span]), int(made.start[first + span + 1]))
        ]
        for span in range(made.spans)
    }


@given(
    st.integers(0, 99), st.integers(1, 3), st.integers(1, 6), st.integers(1, 7), st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)  # fmt: skip
def test_spans_visit_each_kept_block_once(
    seed: int, groups: int, blocks: int, channel_groups: int, span: int, density: float
) -> None:
    keep, lists = lists_of(seed, groups * blocks, channel_groups, density)
    slots = torch.full(keep.shape, -1)
    slots[keep] = torch.arange(int(keep.sum()))
    forward = forward_schedule(lists.block_of, blocks, groups, span)
    backward = grad_input_schedule(lists.col_start, lists.col_block, lists.col_slot, blocks, groups, span)
    for group in range(groups):
        table = slots[group * blocks : (group + 1) * blocks]
        for made, grid in ((forward, table), (backward, table.T)):
            padded = torch.nn.functional.pad(grid, (0, 0, 0, made.spans * span - len(grid)), value=-1)
            for at, entries in visits(made, group).items():
                part = padded[at * span : (at + 1) * span]
                expected = [(k, part[:, k].tolist()) for k in range(grid.shape[1]) if (part[:, k] >= 0).any()]
                assert entries == expected


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 3))
def test_the_longest_come_first(seed: int, blocks: int, groups: int) -> None:
    _, lists = lists_of(seed, groups * blocks, 8, 0.5)
    made = forward_schedule(lists.block_of, blocks, groups, 1)
    counts = made.start.diff().view(groups, blocks)
    order = made.order.view(groups, blocks).long()
    assert (order.sort(1).values == torch.arange(blocks)).all()
    assert (counts.gather(1, order).diff(dim=1) <= 0).all()


@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 5, 16]), st.sampled_from([16, 64]))
def test_tiles_cover_the_kept_channels(seed: int, blocks: int, channel_groups: int, size: int, block_c: int) -> None:
    keep, lists = lists_of(seed, blocks, channel_groups, 0.5)
    tiles = grad_weight_tiles(lists.block_of, blocks, size, block_c)
    assert tiles.row_start.tolist() == lists.row_start.tolist()
    assert tiles.row_group.tolist() == lists.row_group.tolist()
    expected = [(j, part) for j in range(blocks) for part in range(-(-int(keep[j].sum()) * size // block_c))]
    assert list(zip(tiles.block.tolist(), tiles.part.tolist(), strict=True)) == expected


def test_a_schedule_lives_as_long_as_its_lists() -> None:
    before = len(schedule._made)
    _, lists = lists_of(0, 4, 4, 0.5)
    assert forward_schedule(lists.block_of, 4, 1, 1) is forward_schedule(lists.block_of, 4, 1, 1)
    assert forward_schedule(lists.block_of, 4, 1, 2) is not forward_schedule(lists.block_of, 4, 1, 1)
    assert len(schedule._made) == before + 1
    del lists
    gc.collect()
    assert len(schedule._made) == before
