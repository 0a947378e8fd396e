"""Block-sparse linear and convolution, forward and all gradients, against dense fp64 on awkward sizes.

Every backend of this machine's CPU: compiled (if it has a compiler), and plain torch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from cannon_fx.kernels import dispatch, reference
from cannon_fx.kernels.functional import block_sparse_conv1d, block_sparse_conv2d, block_sparse_linear
from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.reference import dense_weight
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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("image", "window", "blocks"),
    [
        ((1, 1, 9), Window((1, 1), padding=(1, 0)), (20, 12, 8, 4)),  # one row in, three out: no linear layer
        ((1, 1, 9), Window((1, 1), (3, 1), (1, 0)), (20, 12, 8, 4)),  # nor here: one row out, of padding
        ((2, 33, 35), Window((3, 3), padding=(1, 1)), (64, 64, 32, 16)),  # several tiles; lines that share a task
        ((2, 5, 6), Window((3, 3), padding=(1, 1)), (170, 144, 80, 144)),  # blocks in several pieces
        ((3, 6, 5), Window((2, 3), (1, 2), (1, 1)), (96, 100, 96, 16)),  # outputs as vectors
        ((2, 9, 8), Window((1, 1), (2, 2)), (128, 64, 64, 16)),
        ((2, 9, 8), Window((1, 1), (2, 2)), (64, 128, 16, 64)),
        ((1, 1, 300), Window((1, 1), (1, 2)), (256, 128, 16, 16)),  # one row, but no linear layer
        ((1, 1, 300), Window((1, 1), (1, 1), (0, 2)), (128, 256, 16, 16)),
        ((1, 1, 700), Window((1, 3), padding=(0, 1)), (40, 64, 32, 32)),  # a row in several pieces
        ((1, 40, 40), Window((8, 8), (8, 8)), (64, 16, 64, 16)),  # a phase for every tap
        ((1, 10, 7), Window((3, 3), padding=(1, 1)), (70, 330, 64, 64)),  # more blocks than are packed at once
        ((1, 29, 21), Window((3, 2), (2, 3), (1, 1)), (40, 48, 16, 16)),  # phases of a stride, in several tiles
    ],
)
def test_convolution_beyond_one_tile(
    image: tuple[int, int, int],
    window: Window,
    blocks: tuple[int, int, int, int],
    dtype: torch.dtype,
    packed: bool,
    backend: str,
) -> None:
    case = ConvCase(image, random_pattern(*blocks, 0.7), window, dtype, packed, True)
    x, weight, bias = leaves(case.x, case.weight, case.bias)
    y = block_sparse_conv2d(x, weight, case.pattern, bias, *window[1:], packed=packed)
    y.backward(case.upstream)
    for found, expected in zip((y, x.grad, weight.grad, bias.grad), case.expected, strict=True):
        assert relative_error(found, expected) < TOLERANCE[dtype]


def test_the_weight_gradient_of_many_pixels_keeps_its_digits(backend: str) -> None:
    pattern = random_pattern(256, 32, 32, 32, 1.0)
    x, upstream = torch.randn(1, 32, 300, 300), torch.randn(1, 256, 300, 300)
    weight = torch.zeros(256, 32, 1, 1, requires_grad=True)
    block_sparse_conv2d(x, weight, pattern).backward(upstream)
    expected = upstream[0].flatten(1).double() @ x[0].flatten(1).double().T
    assert relative_error(weight.grad[:, :, 0, 0], expected) < 2e-6


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("length", "geometry"), [(11, (2, 1, 2, 2)), (7, (1, 0, 1, 1)), (3, (1, 1, 1, 4)), (70, (3, 5, 1, 1))]
)
def test_conv1d_and_its_gradients(length: int, geometry: tuple[int, int, int, int], packed: bool, backend: str) -> None:
    groups = geometry[3]
    pattern = random_pattern(12, 7, 5, 3, 0.6)
    weight = torch.randn(12, 7, 3)
    inputs = leaves(torch.randn(2, 7 * groups, length), pack(weight, pattern) if packed else weight, torch.randn(12))
    y = block_sparse_conv1d(inputs[0], inputs[1], pattern, inputs[2], *geometry, packed=packed)
    exact = leaves(*(t.double() for t in inputs))
    expected = torch.nn.functional.conv1d(exact[0], dense_weight(exact[1], pattern, packed), exact[2], *geometry)
    upstream = torch.randn(y.shape)
    found, right = (
        [out, *torch.autograd.grad(out, to, upstream.to(out.dtype))] for out, to in ((y, inputs), (expected, exact))
    )
    assert all(relative_error(f, r) < 1e-5 for f, r in zip(found, right, strict=True))
    alone = block_sparse_conv1d(inputs[0][0], inputs[1], pattern, inputs[2], *geometry, packed=packed)
    assert relative_error(alone, expected[0]) < 1e-5


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_activations_of_a_convolution(activation: str, backend: str) -> None:
    pattern = random_pattern(12, 12, 5, 4, 0.6)
    inputs = leaves(torch.randn(2, 24, 7, 5), torch.randn(12, 12, 3, 2), torch.randn(12))
    exact = leaves(*(t.double() for t in inputs))
    geometry = (2, 1), (1, 0), (1, 2), 2
    with torch.no_grad():
        fused = block_sparse_conv2d(*inputs[:2], pattern, inputs[2], *geometry, activation)
    y = block_sparse_conv2d(*inputs[:2], pattern, inputs[2], *geometry, activation)
    expected = reference.conv2d(*exact[:2], pattern, exact[2], *geometry, activation)
    upstream = torch.randn(y.shape)
    found = [fused, y, *torch.autograd.grad(y, inputs, upstream)]
    right = [expected, expected, *torch.autograd.grad(expected, exact, upstream.double())]
    assert all(relative_error(f, r) < 1e-5 for f, r in zip(found, right, strict=True))


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


@pytest.mark.parametrize(
    ("image", "blocks"),
    [
        ((2, 192, 9, 9), (256, 192, 64, 16)),
        ((2, 64, 20, 20), (64, 64, 64, 32)),  # few blocks, whose pixels are divided
        ((3, 192), (256, 192, 64, 16)),
        ((70, 192), (256, 192, 64, 16)),
    ],
)
def test_the_same_bits_every_time_and_for_any_number_of_threads(
    image: tuple[int, ...], blocks: tuple[int, int, int, int], backend: str
) -> None:
    pattern = random_pattern(*blocks, 0.5)
    taps = (3, 3) if len(image) == 4 else ()
    found = []
    threads = torch.get_num_threads()
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        x, weight = leaves(torch.ones(image).cumsum(1).sin(), torch.ones(*blocks[:2], *taps).cumsum(0).cos())
        y = block_sparse_conv2d(x, weight, pattern, padding=1) if taps else block_sparse_linear(x, weight, pattern)
        y.square().sum().backward()
        found.append((y, x.grad, weight.grad))
    torch.set_num_threads(threads)
    if backend == "compiled":
        assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[1], found[2], strict=True))


@pytest.mark.parametrize("packed", [False, True])
def test_images_weights_and_gradients_of_any_strides(packed: bool, backend: str) -> None:
    pattern = random_pattern(10, 6, 4, 4, 0.6)
    whole = torch.randn(10, 6, 6, 6).transpose(0, 1)[:, :, ::2, ::2].transpose(0, 1)
    weight = pack(whole, pattern).mT.contiguous().mT if packed else whole
    made = torch.randn(4, 9, 14, 13)
    for x in (
        made[:, 1:7],
        made[::2, :6, ::2, 1::2],
        made[:1, :6].expand(3, -1, -1, -1),
        made.permute(0, 3, 1, 2)[:, :6],
    ):
        inputs, exact = leaves(x, weight), leaves(x.double(), weight.double())
        y = block_sparse_conv2d(x, inputs[1], pattern, padding=1, packed=packed)
        expected = reference.conv2d(x.double(), exact[1], pattern, padding=(1, 1), packed=packed)
        upstream = torch.randn(*y.shape[:3], 1).expand_as(y)
        (found,), (right,) = (
            torch.autograd.grad(y, inputs[1:], upstream),
            torch.autograd.grad(expected, exact[1:], upstream.double()),
        )
        assert relative_error(y, expected) < 1e-5
        assert relative_error(found, right) < 1e-5
        assert inputs[0].grad is None


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


IMAGE, TAPS = torch.randn(2, 6, 9, 9), torch.randn(8, 6, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((IMAGE, WEIGHT, PATTERN), r"dense weight of this pattern is \[8, 6, 'R', 'S'\], got \[8, 6\]"),
        ((IMAGE, TAPS[:, :, 0], PATTERN), r"'R', 'S'\], got \[8, 6, 3\]"),
        ((IMAGE, torch.randn(6, 8, 3, 3), PATTERN), r"'R', 'S'\], got \[6, 8, 3, 3\]"),
        ((IMAGE, TAPS, PATTERN, torch.randn(6)), r"bias of this pattern is \[8\]"),
        ((IMAGE.double(), TAPS, PATTERN), "make them alike"),
        ((IMAGE.to("meta"), TAPS, PATTERN), "make them alike"),
        ((IMAGE.int(), TAPS.int(), PATTERN), "floating point"),
        ((IMAGE.to(torch.complex64), TAPS.to(torch.complex64), PATTERN), "floating point"),
        ((IMAGE, TAPS, PATTERN, None, (1, 1, 1)), "one number or two"),
        ((IMAGE[0, 0], TAPS, PATTERN), "6 input channels"),
        ((IMAGE[None], TAPS, PATTERN), "6 input channels"),
    ],
)
def test_what_does_not_fit_a_convolution(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        block_sparse_conv2d(*arguments)


@pytest.mark.parametrize(
    ("x", "weight", "says"),
    [
        (torch.randn(2, 6, 9), TAPS, r"'R', 'S'\]|conv1d"),
        (torch.randn(2, 7, 9), TAPS[..., 0], "6 input channels"),
        (torch.randn(6), TAPS[..., 0], "6 input channels"),
        (torch.randn(2, 6, 2), TAPS[..., 0], "nothing is left"),
        (torch.randn(2, 6, 9).double(), TAPS[..., 0], "make them alike"),
    ],
)
def test_what_does_not_fit_a_convolution_of_lines(x: Tensor, weight: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        block_sparse_conv1d(x, weight, PATTERN)


def test_shapes_beyond_31_bits_are_those_of_the_dense_op() -> None:
    """On the meta device, which computes shapes and no numbers."""
    pattern = random_pattern(64, 32, 32, 16, 0.5)
    with torch.device("meta"):
        x, image = torch.empty(2**27 + 1, 32), torch.empty(2**15, 32, 64, 65)
        weight, taps = torch.empty(64, 32, requires_grad=True), torch.empty(64, 32, 3, 3, requires_grad=True)
    y, z = block_sparse_linear(x, weight, pattern), block_sparse_conv2d(image, taps, pattern, padding=1)
    assert y.shape == (2**27 + 1, 64)
    assert z.shape == (2**15, 64, 64, 65)
    assert torch.autograd.grad(y.sum(), weight)[0].shape == weight.shape
    assert torch.autograd.grad(z.sum(), taps)[0].shape == taps.shape


@pytest.mark.slow
def test_the_same_with_avx2_alone() -> None:
    """All of this file again, with kernels compiled for machines that have no AVX-512."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this machine has no AVX-512: the other tests are with AVX2 already")
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", __file__]
    subprocess.run(command, env=environment, check=True)
