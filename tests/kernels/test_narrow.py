"""Narrow layers, against the dense op on a masked weight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from cannon_fx.kernels.narrow import Columns, narrow, take
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


@pytest.mark.parametrize("convolution", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_the_input_is_gathered_again_for_gradients(convolution: bool, double: bool) -> None:
    columns, dtype = Columns.of(pattern(), CPU), torch.float64
    x = torch.randn((2, 9, 4, 5) if convolution else (2, 9), dtype=dtype).requires_grad_()
    weight = torch.randn((7, 9, 3, 3) if convolution else (7, 9), dtype=dtype).requires_grad_()
    op, dim = (F.conv2d, -3) if convolution else (F.linear, -1)
    live = torch.zeros(9, dtype=dtype).index_fill(0, columns.live, 1).view(-1, *(1,) * (weight.dim() - 2))
    results = []
    for y in (narrow(op, x, weight, columns, dim), op(x, weight * live)):
        gradients = torch.autograd.grad(y.sin().sum(), (x, weight), create_graph=double)
        if double:
            gradients += torch.autograd.grad(sum(g.square().sum() for g in gradients), (x, weight))
        results.append((y, *gradients))
    for found, right in zip(*results, strict=True):
        torch.testing.assert_close(found, right)


def test_a_narrow_layer_keeps_no_copy_of_its_input() -> None:
    columns, copies = Columns.of(pattern(), CPU), []
    x, weight = torch.randn(1000, 9, requires_grad=True), torch.randn(7, 9, requires_grad=True)

    def op(x: Tensor, weight: Tensor) -> Tensor:
        copies.append(StorageWeakRef(x.untyped_storage()))
        return F.linear(x, weight)

    y = narrow(op, x, weight, columns, -1)
    assert copies[0].expired()
    y.sum().backward()


def test_an_input_that_was_written_is_an_error() -> None:
    columns, x = Columns.of(pattern(), CPU), torch.randn(3, 9)
    y = narrow(F.linear, x, torch.randn(7, 9, requires_grad=True), columns, -1)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_input_from_inference_mode() -> None:
    columns, weight = Columns.of(pattern(), CPU), torch.randn(7, 9)
    with torch.inference_mode():
        x = torch.randn(3, 9)
    live = torch.zeros(9).index_fill(0, columns.live, 1)
    torch.testing.assert_close(narrow(F.linear, x, weight, columns, -1), F.linear(x, weight * live))
