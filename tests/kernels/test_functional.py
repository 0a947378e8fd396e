"""Block-sparse linear and convolution, forward and all gradients, against dense fp64 on awkward sizes.

Every backend of this machine's CPU: compiled (if it has a compiler), and plain torch.
"""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from cannon_fx.kernels import dispatch
from cannon_fx.kernels.functional import block_sparse_conv1d, block_sparse_conv2d, block_sparse_linear
from cannon_fx.kernels.window import Window

from .cases import TOLERANCE, ConvCase, LinearCase, random_pattern, relative_error

DTYPES = list(TOLERANCE)
LINEAR = [(1, 1, 1, 1), (7, 5, 3, 2), (64, 64, 64, 64), (100, 75, 32, 16), (130, 257, 64, 33), (96, 48, 200, 16)]
WINDOWS = [
    Window((3, 3), padding=(1, 1)),
    Window((1, 1)),
    Window((1, 1), stride=(2, 2)),
    Window((3, 2), (2, 1), (1, 0), (1, 2)),
    Window((2, 3), (3, 2), (2, 1), (2, 1), groups=2),
    Window((3, 3), padding=(1, 1), groups=12),
    Window((3, 3), stride=(4, 4)),
    Window((5, 5), padding=(4, 4)),
]
IMAGES = [((2, 9, 8), 12, 24, 7, 5), ((1, 7, 7), 24, 12, 16, 4), ((1, 5, 70), 12, 24, 64, 64)]


@pytest.fixture(params=["compiled", "plain"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(dispatch, "compiled", lambda dtype: False)
    elif not dispatch.compiled(torch.float32):
        assert shutil.which("c++") is None
        pytest.skip("no C++ compiler here")
    return request.param


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", LINEAR)
def test_linear_and_its_gradients(
    sizes: tuple[int, int, int, int], dtype: torch.dtype, packed: bool, backend: str
) -> None:
    for rows, density in ((1, 0.5), (33, 0.0), (33, 1.0), (130, 0.5)):
        case = LinearCase(rows, random_pattern(*sizes, density), dtype, packed)
        x, weight, bias = leaves(case.x, case.weight, case.bias)
        y = block_sparse_linear(x, weight, case.pattern, bias, packed=packed)
        y.backward(case.upstream)
        for name, found, expected in zip("yxwb", (y, x.grad, weight.grad, bias.grad), case.expected, strict=True):
            assert found.dtype == dtype
            assert relative_error(found, expected) < TOLERANCE[dtype], (name, rows, density)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_activations_fused_and_with_gradient(activation: str, dtype: torch.dtype, backend: str) -> None:
    for rows in (3, 70):
        case = LinearCase(rows, random_pattern(100, 75, 32, 16, 0.5), dtype, False, activation)
        x, weight, bias = leaves(case.x, case.weight, case.bias)
        with torch.no_grad():
            fused = block_sparse_linear(x, weight, case.pattern, bias, activation)
        y = block_sparse_linear(x, weight, case.pattern, bias, activation)
        y.backward(case.upstream)
        for found, expected in zip(
            (fused, y, x.grad, weight.grad), (case.expected[0], *case.expected[:3]), strict=True
        ):
            assert relative_error(found, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize(("packed", "channels_last"), [(False, True), (False, False), (True, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_convolution_and_its_gradients(
    window: Window, dtype: torch.dtype, packed: bool, channels_last: bool, backend: str
) -> None:
    for (image, channels, out, out_block, group_size), density in zip(IMAGES, (0.5, 0.0, 1.0), strict=True):
        pattern = random_pattern(out, channels // window.groups, out_block, group_size, density)
        case = ConvCase(image, pattern, window, dtype, packed, channels_last)
        x, weight, bias = leaves(case.x, case.weight, case.bias)
        y = block_sparse_conv2d(x, weight, pattern, bias, *window[1:], packed=packed)
        assert y.is_contiguous(memory_format=torch.channels_last)
        y.backward(case.upstream)
        for name, found, expected in zip("yxwb", (y, x.grad, weight.grad, bias.grad), case.expected, strict=True):
            assert relative_error(found, expected) < TOLERANCE[dtype], (name, image, density)


def test_conv1d_is_conv2d_of_height_one(backend: str) -> None:
    pattern = random_pattern(12, 8, 4, 3, 0.6)
    x, weight, bias = torch.randn(2, 16, 11), torch.randn(12, 8, 3), torch.randn(12)
    kept = weight * pattern.spread(pattern.keep)[..., None]
    expected = torch.nn.functional.conv1d(x.double(), kept.double(), bias.double(), 2, 1, 2, 2)
    found = block_sparse_conv1d(x, weight, pattern, bias, 2, 1, 2, 2)
    assert relative_error(found, expected) < 1e-5
    assert relative_error(block_sparse_conv1d(x[0], weight, pattern, bias, 2, 1, 2, 2), expected[0]) < 1e-5


def test_leading_dimensions_strides_and_empty_batches(backend: str) -> None:
    pattern = random_pattern(10, 6, 4, 2, 0.5)
    weight = torch.randn(10, 6)
    kept = (weight * pattern.spread(pattern.keep)).double()
    for x in (torch.randn(6), torch.randn(2, 3, 6), torch.randn(5, 12)[:, ::2], torch.randn(6, 4).T, torch.randn(0, 6)):
        assert relative_error(block_sparse_linear(x, weight, pattern), x.double() @ kept.T) < 1e-5
    transposed = torch.randn(6, 10).T
    x = torch.randn(3, 6)
    expected = x.double() @ (transposed * pattern.spread(pattern.keep)).double().T
    assert relative_error(block_sparse_linear(x, transposed, pattern), expected) < 1e-5
    assert block_sparse_conv2d(torch.randn(0, 6, 4, 4), weight[..., None, None], pattern).shape == (0, 10, 4, 4)
    image, flat = torch.randn(6, 4, 4), torch.randn(10, 6, 1, 1)
    assert block_sparse_conv2d(image, flat, pattern).shape == (10, 4, 4)


def test_cut_weights_never_count_not_even_nan(backend: str) -> None:
    pattern = random_pattern(130, 70, 64, 16, 0.5)
    mask = pattern.spread(pattern.keep)
    weight = torch.randn(130, 70)
    poisoned = weight.masked_fill(~mask, float("nan"))
    for rows in (3, 100):
        x = torch.randn(rows, 70)
        assert torch.equal(block_sparse_linear(x, poisoned, pattern), block_sparse_linear(x, weight * mask, pattern))


def test_the_same_bits_every_time_and_for_any_number_of_threads(backend: str) -> None:
    pattern = random_pattern(256, 192, 64, 16, 0.5)
    found = []
    threads = torch.get_num_threads()
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        x, weight = leaves(torch.ones(2, 192, 9, 9).cumsum(1).sin(), torch.ones(256, 192, 3, 3).cumsum(0).cos())
        y = block_sparse_conv2d(x, weight, pattern, padding=1)
        y.square().sum().backward()
        found.append((y, x.grad, weight.grad))
    torch.set_num_threads(threads)
    if backend == "compiled":
        assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[1], found[2], strict=True))


PATTERN = random_pattern(8, 6, 4, 2, 0.5)
X, WEIGHT = torch.randn(3, 6), torch.randn(8, 6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((torch.randn(3, 7), WEIGHT, PATTERN), "6 input channels"),
        ((torch.tensor(1.0), WEIGHT, PATTERN), "6 input channels"),
        ((X, torch.randn(8, 7), PATTERN), r"dense weight of this pattern is \[8, 6\]"),
        ((X, torch.randn(6, 8), PATTERN), r"dense weight of this pattern is \[8, 6\]"),
        ((X, WEIGHT, PATTERN, torch.randn(6)), r"bias of this pattern is \[8\]"),
        ((X, WEIGHT, PATTERN, None, "tanh"), "no activation 'tanh'"),
        ((X, WEIGHT, PATTERN, None, "none", True), "packed weight"),
        ((X.double(), WEIGHT, PATTERN), "make them alike"),
        ((X, WEIGHT, PATTERN, torch.randn(8).double()), "make them alike"),
        ((X.int(), WEIGHT.int(), PATTERN), "floating point"),
        ((X, WEIGHT.to("meta"), PATTERN), "make them alike"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(arguments: tuple[Tensor, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        block_sparse_linear(*arguments)


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((2, 6, 2, 2), {}, "nothing is left"),
        ((2, 7, 9, 9), {}, "6 input channels"),
        ((2, 6, 9), {"groups": 2}, "2 x 6 input channels"),
        ((2, 18, 9, 9), {"groups": 3}, "3 groups"),
        ((2, 6, 9, 9), {"stride": 0}, "must be positive"),
        ((2, 6, 9, 9), {"padding": -1}, "not negative"),
    ],
)
def test_a_convolution_that_makes_no_sense(shape: tuple[int, ...], options: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        block_sparse_conv2d(torch.randn(shape), torch.randn(8, 6, 3, 3), PATTERN, **options)
