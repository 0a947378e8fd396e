"""Dense or sparse: whether a layer's block-sparse kernels would be faster than torch's dense op.

A kernel whose time per kept weight is 1 / b of the dense op's wins below density b, the break-even density of its block
shape. Those here are measured (docs/kernels.md: where and how), of layers alone and in whole networks; of a linear
layer nearly the smallest, that of one row forward, so that a wrong choice costs little.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from . import dispatch
from .pattern import BlockPattern

BREAK_EVEN = {
    (torch.float32, False): {64 * 64: 0.9, 32 * 32: 0.86, 16 * 16: 0.73, 8 * 8: 0.28},
    (torch.float32, True): {64 * 64: 0.8, 32 * 32: 0.72, 16 * 16: 0.55, 8 * 8: 0.18},
    (torch.bfloat16, False): {64 * 64: 0.75, 32 * 32: 0.65, 16 * 16: 0.45, 8 * 8: 0.1},
    (torch.bfloat16, True): {64 * 64: 0.75, 32 * 32: 0.56, 16 * 16: 0.3, 8 * 8: 0.1},
}
"""(dtype, whether a window is moved over the input) -> weights in a block (a side counts at most four times the other)
-> break-even density of CPU kernels"""
UNMEASURED = 0.4
"""On a GPU. No GPU was at hand; published block-sparse kernels break even between 0.4 and 1 with large blocks."""
CALL_US = 30
"""What a call costs beyond F.linear's or F.conv2d's, microseconds"""
MACS_PER_US = 80_000
"""Dense multiply-accumulates: two cores with AVX-512. A faster machine makes the choice for sparse later."""
BYTES_PER_US = 30_000
"""Of a weight, from memory or a shared cache: what a linear layer takes for one sample"""


class Choice(NamedTuple):
    """What computes a layer, and why."""

    sparse: bool
    why: str


def choose(pattern: BlockPattern, taps: int, macs: int, device: torch.device, dtype: torch.dtype) -> Choice:
    """For a layer with a window of so many taps (1: linear) and `macs` multiply-accumulates in its dense form, for one
    sample."""
    if pattern.nnz == pattern.keep.numel():
        return Choice(False, "dense: nothing is cut")
    break_even, kernels = _break_even(pattern, taps, device, dtype)
    block = f"blocks of {pattern.out_block} x {pattern.group_size}"
    if pattern.density >= break_even:
        return Choice(False, f"dense: density {pattern.density:.2f}, {block} win below {break_even:.2f} on {kernels}")
    weight_bytes = dtype.itemsize * taps * pattern.out_channels * pattern.in_channels
    dense_us = max(macs / MACS_PER_US, weight_bytes / BYTES_PER_US)
    saved_us = dense_us * (1 - pattern.density / break_even)
    if device.type == "cpu" and saved_us < CALL_US:
        return Choice(False, f"dense: the layer is small, sparsity would save {saved_us:.0f} us of a sample")
    if not dispatch.fast(device, dtype):
        return Choice(False, "dense: no compiled kernels on this machine")
    return Choice(True, f"sparse: density {pattern.density:.2f}, {block} win below {break_even:.2f} on {kernels}")


def _break_even(pattern: BlockPattern, taps: int, device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    if device.type == "cuda":
        return (UNMEASURED if min(pattern.out_block, pattern.group_size) >= 16 else 0.0), "a GPU (unmeasured)"
    small, large = sorted((pattern.out_block, pattern.group_size))
    size = small * min(large, 4 * small)
    measured = BREAK_EVEN.get((dtype, taps > 1), {}) if device.type == "cpu" else {}
    fitting = [density for least, density in measured.items() if size >= least]
    return max(fitting, default=0.0), f"{device.type}, {str(dtype).removeprefix('torch.')}"
