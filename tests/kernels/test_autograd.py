"""The ops under everything that torch puts around an op: gradcheck, opcheck, vmap, compile, export, autocast."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from cannon_fx.kernels import reference
from cannon_fx.kernels.functional import block_sparse_conv2d, block_sparse_linear
from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern

from .cases import random_pattern

PATTERN = random_pattern(10, 13, 4, 4, 0.6, seed=1)


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.double) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_of_first_and_second_order(packed: bool) -> None:
    x, weight, bias = tensors((6, 13), (10, 13), (10,))
    weight = pack(weight, PATTERN).detach().requires_grad_() if packed else weight

    def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return block_sparse_linear(x, weight, PATTERN, bias, "silu", packed)

    assert torch.autograd.gradcheck(linear, (x, weight, bias))
    assert torch.autograd.gradgradcheck(linear, (x, weight, bias))


def test_gradients_of_a_convolution() -> None:
    pattern = random_pattern(6, 4, 4, 2, 0.6)
    x, weight, bias = tensors((2, 8, 5, 4), (6, 4, 3, 2), (6,))

    def conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return block_sparse_conv2d(x, weight, pattern, bias, (2, 1), 1, (1, 2), 2)

    assert torch.autograd.gradcheck(conv, (x, weight, bias))
    assert torch.autograd.gradgradcheck(conv, (x, weight, bias), fast_mode=True)


def test_opcheck_of_all_six() -> None:
    lists, sizes = PATTERN.lists(torch.device("cpu")), [10, 13, 4, 4]
    rows = lists.row_start, lists.row_group, lists.block_of, sizes
    columns = lists.col_start, lists.col_block, lists.col_slot, sizes
    window = [3, 3], [2, 1], [1, 1], [1, 1], 1
    x, weight, grad_out = torch.randn(6, 13), torch.randn(10, 13), torch.randn(6, 10)
    image, taps, grad_image = torch.randn(2, 13, 8, 8), torch.randn(10, 13, 3, 3), torch.randn(2, 10, 4, 8)
    ops = torch.ops.cannon
    torch.library.opcheck(ops.bs_linear, (x, weight, torch.randn(10), *rows, "gelu"))
    torch.library.opcheck(ops.bs_linear_grad_input, (grad_out, weight, *columns))
    torch.library.opcheck(ops.bs_conv2d, (image, taps, None, *rows, *window, "none"))
    torch.library.opcheck(ops.bs_conv2d_grad_input, (grad_image, taps, *columns, *window, 8, 8))
    for packed in (False, True):
        torch.library.opcheck(ops.bs_linear_grad_weight, (grad_out, x, lists.block_of, sizes, packed))
        torch.library.opcheck(ops.bs_conv2d_grad_weight, (grad_image, image, lists.block_of, sizes, *window, packed))


def test_torch_func() -> None:
    x, weight = tensors((5, 13), (10, 13))
    x, weight = x.detach(), weight.detach()

    def loss(op: Callable[..., Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda weight, x: op(x, weight, PATTERN).square().sum()

    ours, theirs = loss(block_sparse_linear), loss(reference.linear)
    torch.testing.assert_close(grad(ours)(weight, x), grad(theirs)(weight, x))
    # Gradients per sample; an ensemble of weights; both at once.
    for in_dims, w, inputs in [
        ((None, 0), weight, x),
        ((0, None), torch.stack([weight, 2 * weight]), x),
        ((0, 0), torch.stack([weight, 2 * weight]), torch.stack([x, -x])),
    ]:
        found, expected = (vmap(grad(f), in_dims)(w, inputs) for f in (ours, theirs))
        torch.testing.assert_close(found, expected)
    with pytest.raises((RuntimeError, NotImplementedError)):  # and not a tangent of zeros
        jvp(lambda x: block_sparse_linear(x, weight, PATTERN), (x,), (x,))


class Network(nn.Module):
    def __init__(self, pattern: BlockPattern) -> None:
        super().__init__()
        self.pattern = pattern
        self.conv = nn.Parameter(torch.randn(10, 13, 3, 3))
        self.head = nn.Parameter(torch.randn(10, 13))

    def forward(self, x: Tensor) -> Tensor:
        y = block_sparse_conv2d(x, self.conv, self.pattern, padding=1, activation="relu")
        return block_sparse_linear(x.mean((2, 3)), self.head, self.pattern) + y.mean((2, 3))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_whole_with_a_dynamic_batch(backend: str) -> None:
    network = Network(PATTERN)
    compiled = torch.compile(network, fullgraph=True, dynamic=True, backend=backend)
    for batch in (2, 3, 5):
        x = torch.randn(batch, 13, 6, 5)
        found, expected = compiled(x), network(x)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad(y.square().sum(), list(network.parameters())) for y in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_exported_as_the_ops_with_a_dynamic_batch() -> None:
    network, x = Network(PATTERN), torch.randn(2, 13, 6, 5)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: batch},))
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert {"cannon.bs_linear.default", "cannon.bs_conv2d.default"} <= set(called)
    x = torch.randn(7, 13, 6, 5)
    torch.testing.assert_close(program.module()(x), network(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_decides_the_type(dtype: torch.dtype) -> None:
    network, x = Network(PATTERN), torch.randn(4, 13, 6, 5)
    expected = network(x)
    with torch.autocast("cpu", dtype):
        found = block_sparse_linear(x.mean((2, 3)), network.head, PATTERN)
        assert found.dtype == dtype
        assert block_sparse_conv2d(x, network.conv, PATTERN).dtype == dtype
        assert block_sparse_linear(x.mean((2, 3)).double(), network.head.double(), PATTERN).dtype == torch.float64
        loss = network(x)
    loss.float().square().sum().backward()
    assert network.head.grad.dtype == torch.float32
    assert (loss.float() - expected).norm() / expected.norm() < 0.02


def test_functional_call_with_other_weights() -> None:
    network, x = Network(PATTERN), torch.randn(2, 13, 6, 5)
    doubled = {name: 2 * p.detach() for name, p in network.named_parameters()}
    torch.testing.assert_close(functional_call(network, doubled, (x,)), 2 * network(x))
