"""The Triton kernels in Triton's interpreter, against the reference in fp64.

The interpreter must be chosen before Triton is imported, so these tests run in a process of their own: the one test
that other processes see starts it. Outputs are born full of NaN (conftest.py), as are the cut blocks of dense weights.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from cannon_fx.kernels import reference
from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.window import Window

pytest.importorskip("triton", reason="Triton is not installed")

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
DTYPES = list(TOLERANCE)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A layer: channels, block, density; and for a convolution its window and the size of its images."""

    out: int
    inp: int
    out_block: int
    group_size: int
    density: float = 0.5
    window: Window | None = None
    size: tuple[int, int] = (7, 9)
    batch: int = 2

    def pattern(self) -> BlockPattern:
        groups = self.window.groups if self.window else 1
        shape = -(-self.out // self.out_block), -(-self.inp // groups // self.group_size)
        keep = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < self.density
        return BlockPattern(keep, self.out, self.inp // groups, self.out_block, self.group_size)


LINEAR = {
    "blocks": Case(128, 128, 64, 32, batch=40),
    "one row": Case(64, 96, 32, 32, batch=1),
    "many rows": Case(64, 64, 32, 64, batch=300),
    "small groups": Case(128, 128, 64, 16, batch=20),
    "small blocks": Case(64, 128, 16, 64, batch=20),
    "few cut": Case(96, 64, 48, 16, 0.9, batch=20),
    "odd": Case(70, 50, 24, 12, batch=33),
    "single channels": Case(7, 5, 1, 1, batch=3),
    "larger than the weight": Case(24, 20, 32, 32, 1.0, batch=5),
    "empty": Case(70, 50, 24, 12, 0.0, batch=9),
    "full": Case(64, 64, 32, 16, 1.0, batch=9),
}
CONV = {
    "3x3": Case(64, 64, 32, 32, window=Window((3, 3), padding=(1, 1)), size=(8, 8)),
    "strided": Case(48, 32, 24, 16, window=Window((3, 3), (2, 2), (1, 1))),
    "pointwise": Case(64, 32, 32, 16, window=Window()),
    "strided pointwise": Case(32, 32, 16, 16, window=Window((1, 1), (2, 2))),
    "odd": Case(20, 24, 8, 5, window=Window((3, 2), (2, 3), (1, 0), (2, 1))),
    "even dilation": Case(16, 16, 16, 16, 1.0, window=Window((3, 3), (2, 2), (2, 2), (2, 2))),
    "groups": Case(20, 24, 5, 4, window=Window((3, 2), (1, 2), (1, 0), groups=2)),
    "padding beyond the taps": Case(16, 16, 16, 16, 1.0, window=Window((1, 2), (1, 1), (1, 2))),
    "one row of pixels": Case(32, 16, 16, 16, window=Window((1, 3), padding=(0, 1)), size=(1, 20)),
    "strided in one row": Case(16, 16, 16, 16, 1.0, window=Window((1, 1), (1, 2)), size=(1, 20), batch=1),
    "padded in one row": Case(16, 16, 16, 16, 1.0, window=Window((1, 1), padding=(0, 1)), size=(1, 20), batch=1),
    "empty": Case(32, 32, 16, 16, 0.0, window=Window((3, 3), padding=(1, 1))),
}


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_error(result: Tensor, expected: Tensor) -> float:
    assert result.shape == expected.shape
    scale = expected.norm()
    return float((result.double() - expected).norm() / (scale if scale > 0 else 1))


def check(case: Case, dtype: torch.dtype, packed: bool, activation: str = "none", device: torch.device = CPU) -> None:
    """Forward with bias and activation, and both gradients without."""
    from cannon_fx.kernels.triton import ops

    pattern, window = case.pattern(), case.window
    taps = window.taps if window else ()
    weight = random(pattern.out_channels, pattern.in_channels, *taps, seed=1).to(dtype)
    used = pack(weight, pattern) if packed else weight.clone()
    if not packed:
        used[~pattern.spread(pattern.keep)] = torch.nan
    shape = (case.batch, case.inp, *case.size) if window else (case.batch, case.inp)
    x, bias = random(*shape, seed=2).to(dtype), random(case.out, seed=3).to(dtype)

    exact_x, exact = x.double().requires_grad_(), (used if packed else weight).double().requires_grad_()
    geometry = (window.stride, window.padding, window.dilation, window.groups) if window else ()
    dense = reference.conv2d if window else reference.linear
    with torch.no_grad():
        expected = dense(exact_x, exact, pattern, bias.double(), *geometry, activation=activation, packed=packed)
    plain = dense(exact_x, exact, pattern, None, *geometry, packed=packed)
    grad = random(*plain.shape, seed=4).to(dtype)
    plain.backward(grad.double())
    assert exact_x.grad is not None
    assert exact.grad is not None

    sizes = (case.out, pattern.in_channels, case.out_block, case.group_size)
    assert ops.available(dtype, sizes, window.groups if window else 1)
    lists = pattern.lists(device)
    rows = lists.row_start, lists.row_group, lists.block_of
    columns = lists.col_start, lists.col_block, lists.col_slot
    x, used, bias, grad = (tensor.to(device) for tensor in (x, used, bias, grad))
    if window:
        results = (
            ops.conv2d(x, used, bias, *rows, sizes, window, activation),
            ops.conv2d_grad_input(grad, used, *columns, sizes, window, case.size),
            ops.conv2d_grad_weight(grad, x, lists.block_of, sizes, window, packed),
        )
        assert all(result.is_contiguous(memory_format=torch.channels_last) for result in results[:2])
    else:
        results = (
            ops.linear(x, used, bias, *rows, sizes, activation),
            ops.linear_grad_input(grad, used, *columns, sizes),
            ops.linear_grad_weight(grad, x, lists.block_of, sizes, packed),
        )
    for result, exactly in zip(results, (expected, exact_x.grad, exact.grad), strict=True):
        assert result.dtype == dtype
        assert relative_error(result.cpu(), exactly) < TOLERANCE[dtype]
    if not packed:
        assert (results[2].cpu()[~pattern.spread(pattern.keep)] == 0).all()


if os.environ.get("TRITON_INTERPRET") == "1":

    @pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
    @pytest.mark.parametrize("name", LINEAR)
    def test_linear(name: str, packed: bool) -> None:
        check(LINEAR[name], torch.float32, packed)

    @pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
    @pytest.mark.parametrize("name", CONV)
    def test_conv2d(name: str, packed: bool) -> None:
        check(CONV[name], torch.float32, packed)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precisions(dtype: torch.dtype) -> None:
        check(LINEAR["small groups"], dtype, packed=True)
        check(LINEAR["odd"], dtype, packed=False)
        check(CONV["3x3"], dtype, packed=False)

    @pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
    def test_activations(activation: str) -> None:
        check(LINEAR["blocks"], torch.float32, False, activation)
        check(LINEAR["odd"], torch.float16, True, activation)

    @pytest.mark.parametrize(
        ("case", "descriptors"),
        [
            (LINEAR["blocks"], True),
            (LINEAR["small groups"], False),
            (Case(64, 64, 64, 64, 1.0, Window((3, 3), padding=(1, 1)), (8, 8), batch=1), True),
        ],
    )
    def test_every_configuration(case: Case, descriptors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """The candidates of the tuner, descriptors and pointers, at a limit of shared memory like a large GPU's."""
        from cannon_fx.kernels.triton import outer, product
        from cannon_fx.kernels.triton.configuration import Configuration, Problem, candidates

        seen: set[Configuration] = set()

        def take(number: int, problem: Problem) -> Configuration:
            found = list(candidates(replace(problem, shared_limit=200_000)))
            seen.add(found[min(number, len(found) - 1)])
            return found[min(number, len(found) - 1)]

        for number in range(14):
            for module in (outer, product):
                monkeypatch.setattr(module, "choose", lambda problem, run, device, number=number: take(number, problem))
            check(case, torch.float16, packed=number % 2 == 1)
        assert {configuration.descriptors for configuration in seen} == {False, descriptors}

    def test_a_long_sum_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
        from cannon_fx.kernels.triton import outer

        monkeypatch.setattr(outer, "processors", lambda device: 64)
        for packed in (False, True):
            check(Case(40, 48, 16, 24, batch=1300), torch.float32, packed)
        check(Case(16, 16, 16, 16, 1.0, Window((3, 3), padding=(1, 1)), (20, 20), batch=2), torch.float32, False)

    def test_offsets_beyond_31_bits() -> None:
        """Rows that lie 2^31 elements apart; memory between them is never touched."""
        from cannon_fx.kernels.triton import ops

        pattern = Case(32, 32, 16, 16, 1.0).pattern()
        lists, sizes = pattern.lists(CPU), (32, 32, 16, 16)
        torch.use_deterministic_algorithms(False)  # would write all of it
        x = torch.empty(2**31 + 32, dtype=torch.float16).as_strided((2, 32), (2**31, 1))
        x.copy_(random(2, 32, seed=2))
        weight = random(32, 32, seed=1).half()
        rows = (lists.row_start, lists.row_group, lists.block_of)
        result = ops.linear(x, weight, None, *rows, sizes, "none")
        assert relative_error(result, x.double() @ weight.double().T) < 2e-3
        gradient = ops.linear_grad_weight(x, x, lists.block_of, sizes, False)
        assert relative_error(gradient, x.double().T @ x.double()) < 2e-3

    def test_inputs_of_any_stride() -> None:
        from cannon_fx.kernels.triton import ops

        case = LINEAR["blocks"]
        pattern = case.pattern()
        lists, sizes = pattern.lists(CPU), (case.out, case.inp, case.out_block, case.group_size)
        rows = (lists.row_start, lists.row_group, lists.block_of)
        weight = random(case.inp, case.out, seed=1).T
        whole = random(20, 3 * case.inp + 1, seed=2)
        for x in (whole[:, 1 : case.inp + 1], whole[:, 1::3], whole[:1].expand(20, -1)[:, : case.inp]):
            expected = reference.linear(x.double(), weight.double(), pattern)
            assert relative_error(ops.linear(x, weight, None, *rows, sizes, "none"), expected) < 1e-5

    @pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
    def test_under_the_public_functions(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """The ops that autograd calls, with the arguments that it gives them."""
        from cannon_fx.kernels import dispatch
        from cannon_fx.kernels.functional import block_sparse_conv2d
        from cannon_fx.kernels.triton import ops

        monkeypatch.setattr(dispatch, "_kernels", lambda first, arguments: ops)
        pattern = Case(32, 16, 16, 8).pattern()
        made = random(32, 16, 3, 3, seed=1)
        weight = (pack(made, pattern) if packed else made).requires_grad_()
        x, bias = random(2, 16, 9, 9, seed=2).requires_grad_(), random(32, seed=3).requires_grad_()
        inputs = x, weight, bias
        y = block_sparse_conv2d(x, weight, pattern, bias, 2, 1, activation="gelu", packed=packed)
        exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
        expected = reference.conv2d(
            exact[0], exact[1], pattern, exact[2], (2, 2), (1, 1), activation="gelu", packed=packed
        )
        assert relative_error(y.detach(), expected.detach()) < 1e-5
        grad = random(*y.shape, seed=4)
        exactly = torch.autograd.grad(expected, exact, grad.double())
        for result, right in zip(torch.autograd.grad(y, inputs, grad), exactly, strict=True):
            assert relative_error(result, right) < 1e-5

    def test_no_rows() -> None:
        from cannon_fx.kernels.triton import ops

        lists = Case(32, 32, 16, 16, 1.0).pattern().lists(CPU)
        x, sizes = torch.zeros(0, 32), (32, 32, 16, 16)
        rows = (lists.row_start, lists.row_group, lists.block_of)
        assert ops.linear(x, torch.ones(32, 32), None, *rows, sizes, "none").shape == (0, 32)
        assert (ops.linear_grad_weight(x, x, lists.block_of, sizes, False) == 0).all()

    def test_nan_passes_through() -> None:
        from cannon_fx.kernels.triton import ops

        lists = Case(16, 16, 16, 16, 1.0).pattern().lists(CPU)
        rows = (lists.row_start, lists.row_group, lists.block_of)
        x = torch.ones(2, 16)
        x[1, 3] = torch.nan
        for activation in reference.ACTIVATIONS:
            result = ops.linear(x, torch.ones(16, 16), None, *rows, (16, 16, 16, 16), activation)
            assert result[0].isfinite().all()
            assert result[1].isnan().all()

else:

    def test_in_the_interpreter() -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"})
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    @pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("case", [*LINEAR.values(), *CONV.values()], ids=[*LINEAR, *(f"conv {n}" for n in CONV)])
    def test_on_the_device(case: Case, dtype: torch.dtype, packed: bool) -> None:
        """The first run tunes the device, and takes longer."""
        check(case, dtype, packed, "gelu", torch.device("cuda"))
