"""The ops' decompositions give what the ops give, for both storages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cannon_fx.kernels import decompositions
from cannon_fx.kernels.functional import block_sparse_conv2d, block_sparse_linear
from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pattern_of(out_channels: int, in_channels: int, out_block: int, group_size: int, density: float) -> BlockPattern:
    shape = -(-out_channels // out_block), -(-in_channels // group_size)
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < density
    return BlockPattern(keep, out_channels, in_channels, out_block, group_size)


PATTERNS = [(16, 16, 8, 4, 0.5), (13, 11, 8, 4, 0.5), (7, 5, 16, 16, 1.0), (12, 9, 4, 2, 0.0)]


@pytest.mark.parametrize("sizes", PATTERNS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_linear(sizes: tuple[Any, ...], packed: bool, activation: str) -> None:
    pattern = pattern_of(*sizes)
    x, weight, bias = random(5, pattern.in_channels), random(pattern.out_channels, pattern.in_channels, seed=2), None
    weight = pack(weight, pattern) if packed else weight
    lists = pattern.lists(x.device)
    rest = (lists.row_start, lists.row_group, lists.block_of, sizes[:4], activation)
    expected = block_sparse_linear(x, weight, pattern, bias, activation, packed)
    torch.testing.assert_close(decompositions.linear(x, weight, bias, *rest), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", PATTERNS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d(sizes: tuple[Any, ...], packed: bool, groups: int) -> None:
    if sizes[0] % groups:
        sizes = (sizes[0] + 1, *sizes[1:])
    pattern = pattern_of(*sizes)
    x, bias = random(2, pattern.in_channels * groups, 7, 6), random(pattern.out_channels, seed=3)
    weight = random(pattern.out_channels, pattern.in_channels, 3, 2, seed=2)
    weight = pack(weight, pattern) if packed else weight
    lists = pattern.lists(x.device)
    window: tuple[Any, ...] = ((2, 1), (1, 0), (1, 2))
    rest = (lists.row_start, lists.row_group, lists.block_of, sizes[:4], (3, 2), *window, groups, "relu")
    expected = block_sparse_conv2d(x, weight, pattern, bias, *window, groups, "relu", packed)
    found = decompositions.conv2d(x, weight, bias, *rest)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found.stride() == expected.stride()


def test_exporters_find_them() -> None:
    for op in (torch.ops.cannon.bs_linear.default, torch.ops.cannon.bs_conv2d.default):
        assert op in torch._decomp.decomposition_table
