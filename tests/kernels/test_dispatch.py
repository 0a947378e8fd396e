"""Who computes: the kernels of the device where they can be had, plain torch with one warning where not."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cannon_fx.kernels import dispatch, plain
from cannon_fx.kernels.cpu import brgemm
from cannon_fx.kernels.cpu.build import BuildError
from cannon_fx.kernels.functional import block_sparse_linear

from .cases import TOLERANCE, LinearCase, random_pattern, relative_error

SIZES = (8, 6, 4, 2)


def on_cuda(dtype: torch.dtype) -> Any:
    """What the choice looks at of a tensor on a GPU."""
    return SimpleNamespace(is_cuda=True, dtype=dtype, numel=lambda: 1)


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test finds out anew what this machine has."""
    for name in ("_triton", "compiled", "_built"):
        monkeypatch.setattr(dispatch, name, dispatch.functools.cache(getattr(dispatch, name).__wrapped__))


def test_a_gpu_without_triton_runs_plain_torch_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.startswith("cannon_fx.kernels.triton")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)  # as if it were not installed
    with caplog.at_level(logging.WARNING):
        for dtype in (torch.float32, torch.bfloat16, torch.float32):
            assert dispatch._kernels(on_cuda(dtype), (SIZES,)) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "triton" in caplog.text


def test_without_a_compiler_plain_torch_is_right_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise BuildError("there is no compiler")

    monkeypatch.setattr(brgemm, "library", fail)
    with caplog.at_level(logging.WARNING):
        for dtype in (torch.float32, torch.bfloat16):
            case = LinearCase(9, random_pattern(20, 30, 8, 8, 0.5), dtype, False)
            found = block_sparse_linear(case.x, case.weight, case.pattern, case.bias)
            assert relative_error(found, case.expected[0]) < TOLERANCE[dtype]
    assert "there is no compiler" in caplog.text
    assert len(caplog.records) == 1


def test_16_bits_without_instructions_for_them_are_summed_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: False)
    seen: list[torch.dtype] = []
    right = plain.linear
    monkeypatch.setattr(plain, "linear", lambda x, *rest: seen.append(x.dtype) or right(x, *rest))
    x, weight, pattern = torch.randn(5, 6).half(), torch.randn(8, 6).half(), random_pattern(*SIZES, 0.5)
    assert block_sparse_linear(x, weight, pattern).dtype == torch.float16
    assert seen == [torch.float32]
