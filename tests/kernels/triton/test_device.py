"""What the launches ask of tensors and devices."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")


def test_descriptors_need_multiples_of_16_bytes() -> None:
    from cannon_fx.kernels.triton.device import descriptors_fit

    x = torch.zeros(8, 72, dtype=torch.float16)
    assert descriptors_fit(x)
    assert descriptors_fit(x, x[:, 8:40], x[::2])
    assert not descriptors_fit(x, x[:, 1:])  # base
    assert not descriptors_fit(torch.zeros(8, 70, dtype=torch.float16))  # stride
    assert not descriptors_fit(x[:1].expand(8, -1))
    assert not descriptors_fit(x[:0])
    assert descriptors_fit(torch.zeros(1, 3, dtype=torch.float16))  # a stride that nothing uses


def test_descriptors_give_dimensions_of_one_a_stride() -> None:
    from cannon_fx.kernels.triton.device import descriptor

    x = torch.zeros(5, 64)
    assert descriptor(x[:, None, None], (1, 1, 1, 16)).strides == [64, 64, 64, 1]
    assert descriptor(x[None, None], (1, 1, 1, 16)).strides == [320, 320, 64, 1]
    assert descriptor(torch.zeros(1, 3), (1, 16)).strides == [16, 1]


def test_wide_means_beyond_31_bits() -> None:
    from cannon_fx.kernels.triton.device import wide

    x = torch.empty(2**31 + 1, dtype=torch.int8, device="meta")
    assert not wide(x[: 2**31])
    assert wide(x[:5], x)
    assert wide(torch.empty_strided((2, 1), (2**31, 1), device="meta"))


def test_too_many_positions_are_an_error() -> None:
    from cannon_fx.kernels.triton.device import check_rows

    check_rows(2**30)
    with pytest.raises(ValueError, match="split the batch"):
        check_rows(2**30 + 1)


def test_fp32_is_exact_unless_told() -> None:
    """Told in either of torch's ways; in a process of its own, for torch remembers which one was used."""
    code = (
        "import torch; from cannon_fx.kernels.triton.device import precision; m = torch.backends.cuda.matmul; "
        "assert precision(torch.float32) == 'tf32x3'; {}; assert precision(torch.float32) == 'tf32'; "
        "assert precision(torch.bfloat16) == 'ieee'"
    )
    for told in ("m.allow_tf32 = True", "m.fp32_precision = 'tf32'", "torch.set_float32_matmul_precision('high')"):
        done = subprocess.run([sys.executable, "-c", code.format(told)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
