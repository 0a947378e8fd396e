"""Dense, narrow or sparse: whether a layer's block-sparse kernels would be faster than torch's dense op.

A kernel whose time per kept weight is 1 / b of the dense op's wins below density b, the break-even density of its block
shape. Those here are measured (docs/kernels.md: where and how), of layers alone and in whole networks; of a linear
layer nearly the smallest, that of one row forward, so that a wrong choice costs little.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from . import dispatch
from .pattern import BlockPattern

BREAK_EVEN = {
    (torch.float32, False): {64 * 64: 0.9, 32 * 32: 0.86, 16 * 16: 0.73, 8 * 8: 0.28},
    (torch.float32, True): {64 * 64: 0.88, 32 * 32: 0.8, 16 * 16: 0.58, 8 * 8: 0.24},
    (torch.bfloat16, False): {64 * 64: 0.75, 32 * 32: 0.65, 16 * 16: 0.45, 8 * 8: 0.1},
    (torch.bfloat16, True): {64 * 64: 0.75, 32 * 32: 0.56, 16 * 16: 0.3, 8 * 8: 0.1},
}
"""(dtype, whether a window is moved over the input) -> weights in a block (a side counts at most four times the other)
-> break-even density of CPU kernels"""
UNMEASURED = 0.4
"""On a GPU. No GPU was at hand; published block-sparse kernels break even between 0.4 and 1 with large blocks."""
CALL_US = 30.0
"""What a call costs beyond F.linear's or F.conv2d's, microseconds"""
STEP_US = 200.0
"""The same in training. A layer that saves CALL_US on a single sample is so large that it saves this in training."""
MACS_PER_US = 80_000
"""Dense multiply-accumulates: two cores with AVX-512. A faster machine makes the choice for sparse later."""
BYTES_PER_US = 30_000
"""Of a weight, from memory or a shared cache: what a linear layer takes for one sample"""
PACKED_PIXELS = 12
"""Packing a block for a convolution takes as long as its products with so many pixels"""
NARROW_MARGIN = 0.1
"""Share of the dense op's time that must be saved, beyond what sparse kernels would save, for a narrow one"""


class Choice(NamedTuple):
    """What computes a layer, and why."""

    sparse: bool
    why: str
    narrow: bool = False
    """The dense op, on those input channels alone of which any weight is kept"""
    samples: int = 1
    """In a batch of fewer a call costs more than it saves"""


def choose(
    pattern: BlockPattern, taps: int, macs: int, device: torch.device, dtype: torch.dtype, narrow: bool = False
) -> Choice:
    """For a layer with a window of so many taps (1: linear) and `macs` multiply-accumulates in its dense form, for one
    sample. `narrow`: that may be chosen too."""
    if pattern.nnz == pattern.keep.numel():
        return Choice(False, "dense: nothing is cut")
    macs = max(macs, 1)  # of an empty batch
    weights = taps * pattern.out_channels * pattern.in_channels
    products_us, fetch_us = macs / MACS_PER_US, dtype.itemsize * weights / BYTES_PER_US
    share, choice = _sparse(pattern, taps, device, dtype)
    once_us, spread_us = max(products_us, fetch_us), 0.0
    live = int(pattern.live.sum())
    # Sparse kernels of linear layers save more than that of a single row, which breaks even first.
    if narrow and device.type == "cpu" and live and (taps > 1 or not choice.sparse):
        gather_us = 2 * live * dtype.itemsize * macs / weights / BYTES_PER_US  # of the input, at stride 1
        narrow_share = 1 - live / pattern.in_channels - gather_us / products_us
        if narrow_share > share + NARROW_MARGIN:
            share = narrow_share
            # Training gathers the weight and spreads its gradient at every call.
            once_us, spread_us = products_us, 4 * fetch_us
            choice = Choice(False, f"narrow: dense on {live} of {pattern.in_channels} input channels", narrow=True)
    if share == 0 or device.type != "cpu":
        return choice
    samples = 1
    if choice.sparse and taps > 1:
        samples = math.ceil(PACKED_PIXELS * (1 - share) / share * weights / macs)
    if once_us * share < CALL_US + spread_us:
        samples = max(samples, math.ceil((STEP_US + spread_us) / (products_us * share)))
    if samples == 1:
        return choice
    return choice._replace(why=f"{choice.why}, in batches of {samples} and more", samples=samples)


def _sparse(pattern: BlockPattern, taps: int, device: torch.device, dtype: torch.dtype) -> tuple[float, Choice]:
    """Which share of the dense op's time the sparse kernels save; 0 and dense if none."""
    break_even, kernels = _break_even(pattern, taps, device, dtype)
    why = f"density {pattern.density:.2f}, blocks of {pattern.out_block} x {pattern.group_size} "
    why += f"win below {break_even:.2f} on {kernels}"
    if pattern.density >= break_even:
        return 0.0, Choice(False, f"dense: {why}")
    if not dispatch.fast(device, dtype):
        return 0.0, Choice(False, "dense: no compiled kernels on this machine")
    return 1 - pattern.density / break_even, Choice(True, f"sparse: {why}")


def _break_even(pattern: BlockPattern, taps: int, device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    if device.type == "cuda":
        return (UNMEASURED if min(pattern.out_block, pattern.group_size) >= 16 else 0.0), "a GPU (unmeasured)"
    small, large = sorted((pattern.out_block, pattern.group_size))
    size = small * min(large, 4 * small)
    measured = BREAK_EVEN.get((dtype, taps > 1), {}) if device.type == "cpu" else {}
    fitting = [density for least, density in measured.items() if size >= least]
    return max(fitting, default=0.0), f"{device.type}, {str(dtype).removeprefix('torch.')}"
