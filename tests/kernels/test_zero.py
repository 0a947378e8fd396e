"""Zeros in place, against masks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cannon_fx.kernels import dispatch, zero
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import masked_weight

pytestmark = pytest.mark.skipif(not dispatch.zeros_in_place(), reason="no C++ compiler")


def pattern_for(shape: tuple[int, ...], out_block: int, group_size: int, density: float) -> BlockPattern:
    blocks = -(-shape[0] // out_block), -(-shape[1] // group_size)
    keep = torch.rand(blocks, generator=torch.Generator().manual_seed(0)) < density
    return BlockPattern(keep, *shape[:2], out_block, group_size)


def masked(values: Tensor, pattern: BlockPattern) -> Tensor:
    return masked_weight(values, pattern.spread(pattern.keep))


def transposed(values: Tensor) -> Tensor:
    return values.t().contiguous().t() if values.dim() == 2 else values.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8])
@pytest.mark.parametrize("layout", [Tensor.contiguous, transposed])
@pytest.mark.parametrize("density", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize(
    ("shape", "out_block", "group_size"),
    [
        ((512, 256), 64, 16),
        ((300, 211), 128, 1),
        ((129, 257), 7, 300),
        ((96, 80, 3, 3), 64, 16),
        ((70, 65, 2, 5), 64, 3),
        ((256, 200, 1, 1), 32, 32),
        ((40000, 1), 512, 1),
        ((1, 40000), 64, 8),
        ((2, 64, 19, 17), 1, 5),
    ],
)
def test_zeros_are_where_the_mask_is(
    shape: tuple[int, ...],
    out_block: int,
    group_size: int,
    density: float,
    layout: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
) -> None:
    pattern = pattern_for(shape, out_block, group_size, density)
    values = layout((torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 100 + 1).to(dtype))
    expected = masked(values, pattern)
    assert zero.in_place(values)
    zero.zero_cut_(values, pattern)
    assert torch.equal(values, expected)


def test_any_strides() -> None:
    pattern = pattern_for((30, 40), 8, 4, 0.5)
    apart = torch.randn(2, 3, 60, 80)
    for values in (apart[0, 0, ::2, ::2], apart.permute(2, 3, 0, 1)[:30, :40]):
        values = values.clone(memory_format=torch.preserve_format) if values.dim() == 4 else values
        expected = masked(values, pattern)
        zero.zero_cut_(values, pattern)
        assert torch.equal(values, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_beside_the_tensor_is_written(threads: int) -> None:
    before = torch.get_num_threads()
    around = torch.ones(2 + 300 * 150)
    pattern = pattern_for((300, 150), 64, 7, 0.0)
    torch.set_num_threads(threads)
    try:
        zero.zero_cut_(around[1:-1].view(300, 150), pattern)
    finally:
        torch.set_num_threads(before)
    assert around[0] == around[-1] == 1
    assert not around[1:-1].any()


@pytest.mark.parametrize("convolution", [False, True])
def test_the_gradient_is_zero_where_cut_and_has_gradients_of_its_own(convolution: bool) -> None:
    shape = (64, 64, 3, 3) if convolution else (256, 256)
    pattern = pattern_for(shape, 32, 8, 0.5)
    weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    with torch.no_grad():
        zero.zero_cut_(weight, pattern)
    x = torch.randn(3, *((64, 5, 5) if convolution else (256,)), dtype=torch.float64, requires_grad=True)
    op = F.conv2d if convolution else F.linear

    def derivatives(read: Callable[[Tensor, BlockPattern], Tensor]) -> list[Tensor]:
        y = op(x, read(weight, pattern))
        first = torch.autograd.grad(y.sin().sum(), (weight, x), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (weight, x))
        return [y, *torch.autograd.grad(op(x, read(weight, pattern)).sin().sum(), (weight, x)), *first, *second]

    found, expected = derivatives(zero.kept_), derivatives(masked)
    for ours, right in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, right)


def test_a_gradient_that_lies_elsewhere_too_is_not_written() -> None:
    pattern = pattern_for((256, 256), 64, 16, 0.5)
    weight = nn.Parameter(torch.ones(256, 256))
    zero.kept_(weight, pattern).sum().backward()  # every element of this gradient is one number in memory
    assert torch.equal(weight.grad, masked(torch.ones(256, 256), pattern))


def test_what_stands_for_another_tensor_is_not_written() -> None:
    weight = torch.ones(256, 256)
    assert zero.in_place(weight)
    assert not zero.in_place(weight.to("meta"))
    with FlopCounterMode(display=False):
        assert not zero.in_place(weight)
    seen = []
    torch.func.vmap(lambda w: seen.append(zero.in_place(w)) or w)(torch.ones(2, 256, 256))
    torch.jit.trace(lambda w: seen.append(zero.in_place(w)) or w + 1, weight, check_trace=False)
    assert seen == [False, False]
