"""Narrow layers, against the dense op on a masked weight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cannon_fx.kernels.narrow import Columns, take
from cannon_fx.kernels.pattern import BlockPattern

CPU = torch.device("cpu")
KEEP = torch.tensor([[1, 0, 0, 1, 0], [1, 0, 1, 0, 0]], dtype=torch.bool)


def pattern(keep: Tensor = KEEP) -> BlockPattern:
    return BlockPattern(keep, 7, 9, 4, 2)


def test_columns_are_the_channels_that_are_read() -> None:
    columns = Columns.of(pattern(), CPU)
    assert columns.live.tolist() == [0, 1, 4, 5, 6, 7]
    assert columns.place.tolist() == [0, 1, 6, 6, 2, 3, 4, 5, 6]
    assert not columns.whole
    assert Columns.of(pattern(KEEP[:1].expand(2, 5)), CPU).whole
    last = Columns.of(pattern(torch.tensor([[0, 0, 0, 0, 1]] * 2, dtype=torch.bool)), CPU)
    assert last.live.tolist() == [8]


SHAPES: list[tuple[tuple[int, ...], int]] = [
    ((9,), -1),
    ((3, 9), -1),
    ((2, 3, 9), -1),
    ((7, 9), 1),
    ((9, 4, 5), -3),
    ((2, 9, 4, 5), -3),
    ((7, 9, 3, 3), 1),
    ((2, 9, 1, 1), 1),
]


def as_it_is(values: Tensor) -> Tensor:
    return values


def channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values


@pytest.mark.parametrize("layout", [as_it_is, channels_last])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_take_is_index_select_of_any_order(
    shape: tuple[int, ...], dim: int, layout: Callable[[Tensor], Tensor]
) -> None:
    columns = Columns.of(pattern(), CPU)
    values = layout(torch.randn(shape, dtype=torch.float64)).requires_grad_()
    expected = values.index_select(dim, columns.live)
    found = take(values, columns, dim)
    assert torch.equal(found, expected)
    assert torch.equal(take(values.detach(), columns, dim), expected)
    assert found.is_contiguous(memory_format=torch.channels_last) or layout is as_it_is or values.dim() != 4
    upstream = torch.randn_like(found)
    gradient, right = (torch.autograd.grad(y, values, upstream)[0] for y in (found, expected))
    assert torch.equal(gradient, right)
    assert torch.autograd.gradcheck(lambda v: take(v, columns, dim), values)
    assert torch.autograd.gradgradcheck(lambda v: take(v, columns, dim), values)


def test_transforms_and_compilers() -> None:
    columns, x, weight = Columns.of(pattern(), CPU), torch.randn(5, 3, 9), torch.randn(7, 9)

    def narrow(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(take(x, columns, -1), take(weight, columns, 1))

    def masked(x: Tensor, weight: Tensor) -> Tensor:
        live = torch.zeros(9).index_fill(0, columns.live, 1)
        return F.linear(x, weight * live)

    def loss(op: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda weight: op(x, weight).square().sum()

    close, expected = torch.testing.assert_close, masked(x, weight)
    close(torch.func.vmap(narrow, (0, None))(x, weight), expected)
    close(torch.compile(narrow, fullgraph=True, backend="aot_eager")(x, weight), expected)
    close(torch.func.grad(loss(narrow))(weight), torch.func.grad(loss(masked))(weight))
    close(torch.func.hessian(loss(narrow))(weight), torch.func.hessian(loss(masked))(weight))
