"""What the kernels share inside: the dot, bias and activation, the order of tiles."""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED: tl.constexpr = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def accumulate(a, b, total, PRECISION: tl.constexpr):
    """total + a @ b in fp32. The interpreter multiplies the bits of bf16 as integers, so there it gets fp32."""
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def finish(total, bias, n, n_valid, BIAS: tl.constexpr, ACTIVATION: tl.constexpr):
    """Bias, then relu, gelu (with erf, torch's default), silu or nothing; in fp32."""
    if BIAS:
        total += tl.load(bias + n, mask=n_valid, other=0.0).to(tl.float32)[None, :]
    if ACTIVATION == "relu":
        # Not maximum: NaN stays NaN, as in torch.
        total = tl.where(total < 0, 0.0, total)
    elif ACTIVATION == "gelu":
        total = 0.5 * total * (1 + tl.erf(total * 0.7071067811865476))
    elif ACTIVATION == "silu":
        total = total / (1 + tl.exp(-total))
    return total


@triton.jit
def tile_of(index, row_tiles, column_tiles, GROUP_M: tl.constexpr):
    """(row tile, column tile): down GROUP_M row tiles, then one column on, so that the programs of a moment share both
    inputs in L2."""
    per_group = GROUP_M * column_tiles
    first = index // per_group * GROUP_M
    size = tl.minimum(row_tiles - first, GROUP_M)
    return first + index % per_group % size, index % per_group // size
