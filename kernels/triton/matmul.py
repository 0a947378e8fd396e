"""Forward and grad-input by pointers: y[row, n] = sum over taps and kept blocks of x[row at tap, k] weight[n, k, tap].

Forward and grad-input differ only in which side of the weight is n, and in the schedule of kept blocks; a linear layer
is a convolution with one tap. What makes it fast:

* The index of the next kept block is loaded at the end of a step and carried to the next. A load whose address hangs on
  another load of the same step would halve the number of buffers that the compiler's pipeline keeps in flight.
* Blocks of k smaller than BLOCK_K are gathered, several to a step; the channels of one stay together, so that loads
  stay wide.
* Blocks of n smaller than BLOCK_N may be walked together, over the union of their kept blocks, cut ones masked (SPAN).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .language import accumulate, finish, tile_of


@triton.jit
def _ahead(step, first, last, block, slot, part, BLOCK_K: tl.constexpr, K_UNIT: tl.constexpr, SPAN: tl.constexpr,
           SLOTS: tl.constexpr):  # fmt: skip
    """(block of k, slot) that a step reads: one of each, or a block of every k, or a slot of every n."""
    if K_UNIT % BLOCK_K == 0:
        entry = first + step // (K_UNIT // BLOCK_K)
    else:
        # Past the end stay at `last`, another span's entry or the list's padding: masked, but there to be read.
        entry = tl.minimum(first + (step * BLOCK_K + tl.arange(0, BLOCK_K)) // K_UNIT, last)
    unit = tl.load(block + entry)
    if SPAN > 1:
        return unit, tl.load(slot + entry * SPAN + part)
    elif SLOTS:
        return unit, tl.load(slot + entry)
    else:
        return unit, unit


@triton.jit
def block_matmul(
    x, weight, bias, y,
    start, block, slot, order, spans,  # the schedule
    rows, height, width,  # positions of y: all, and of one image
    x_height, x_width,
    x_image, x_row, x_column, y_image, y_row, y_column,  # strides; channels lie side by side
    stride_h, stride_w, origin_h, origin_w, tap_h, tap_w,  # x position = stride * y position + origin + tap * tap step
    weight_n, weight_k, weight_tap_h, weight_tap_w, weight_block,  # strides; weight_block from slot to slot
    n_limit, k_limit,  # channels of one group
    x_group, y_group, weight_group,  # strides from group to group
    TAPS: tl.constexpr, TAPS_W: tl.constexpr, N_UNIT: tl.constexpr, K_UNIT: tl.constexpr, SPAN: tl.constexpr,
    POINTWISE: tl.constexpr, PACKED: tl.constexpr, K_EVEN: tl.constexpr, N_EVEN: tl.constexpr, WIDE: tl.constexpr,
    BIAS: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """One tile of y, [BLOCK_M, BLOCK_N], of one group (axis 1 of the grid)."""
    SINGLE: tl.constexpr = K_UNIT % BLOCK_K == 0  # a step lies inside one block of k
    SLOTS: tl.constexpr = PACKED or SPAN > 1
    PARTS: tl.constexpr = (N_UNIT * SPAN + BLOCK_N - 1) // BLOCK_N
    INDEX: tl.constexpr = tl.int64 if WIDE else tl.int32
    RUN: tl.constexpr = K_UNIT & -K_UNIT  # this many k are sure to lie side by side, at a multiple of it

    group = tl.program_id(1)
    row_tile, column_tile = tile_of(tl.program_id(0), tl.cdiv(rows, BLOCK_M), spans * PARTS, GROUP_M)
    span = tl.load(order + group * spans + column_tile // PARTS)
    first = tl.load(start + group * spans + span)
    last = tl.load(start + group * spans + span + 1)

    # Columns inside their span, inside their group; and the block of the span that each belongs to.
    inside = column_tile % PARTS * BLOCK_N + tl.arange(0, BLOCK_N)
    n = span * (N_UNIT * SPAN) + inside
    n_valid = (inside < N_UNIT * SPAN) & (n < n_limit)
    part = tl.minimum(inside // N_UNIT, SPAN - 1)
    weight += group.to(tl.int64) * weight_group
    weight_columns = (inside % N_UNIT if PACKED else n).to(INDEX) * weight_n

    # Rows; those past the end are row 0 again, computed and never stored, so that loads need no mask for them.
    m = row_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    m_valid = m < rows
    m = tl.where(m_valid, m, 0)
    if POINTWISE:
        x_rows = m.to(INDEX) * x_column
    else:
        x_h, x_w = m // width % height * stride_h + origin_h, m % width * stride_w + origin_w
        x_rows = (m // (width * height)).to(INDEX) * x_image + x_h.to(INDEX) * x_row + x_w * x_column
    x_rows += group * x_group

    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    length = (last - first) * K_UNIT
    offset = tl.arange(0, BLOCK_K)
    unit, at = _ahead(0, first, last, block, slot, part, BLOCK_K, K_UNIT, SPAN, SLOTS)
    for step in range(tl.cdiv(length, BLOCK_K) * TAPS):
        k_step, tap = step // TAPS, step % TAPS
        if SINGLE:
            k_inside = k_step % (K_UNIT // BLOCK_K) * BLOCK_K + offset
            k = unit * K_UNIT + k_inside
            k_valid = k < k_limit
        else:
            k_inside = (k_step * BLOCK_K + offset) % K_UNIT
            k = tl.max_contiguous(tl.multiple_of(unit * K_UNIT + k_inside, RUN), RUN)
            k_valid = (k_step * BLOCK_K + offset < length) & (k < k_limit)

        x_at = x + x_rows[:, None] + k[None, :]
        if POINTWISE:
            x_mask = k_valid[None, :]
        else:
            down, right = tap // TAPS_W * tap_h, tap % TAPS_W * tap_w
            x_at += down.to(INDEX) * x_row + right * x_column
            hit = (x_h + down >= 0) & (x_h + down < x_height) & (x_w + right >= 0) & (x_w + right < x_width)
            x_mask = hit[:, None] & k_valid[None, :]

        weight_at = weight + tap // TAPS_W * weight_tap_h + tap % TAPS_W * weight_tap_w + weight_columns[None, :]
        if PACKED:
            weight_at += (k_inside * weight_k)[:, None]
            base = at.to(tl.int64) * weight_block
            weight_at += base[None, :] if SPAN > 1 else base if SINGLE else base[:, None]
        else:
            weight_at += (k.to(INDEX) * weight_k)[:, None]
        weight_mask = k_valid[:, None] & n_valid[None, :]
        if SPAN > 1:
            weight_mask &= (at >= 0)[None, :]

        if POINTWISE and SINGLE and K_EVEN:
            a = tl.load(x_at)
        else:
            a = tl.load(x_at, mask=x_mask, other=0.0)
        if SPAN == 1 and SINGLE and K_EVEN and N_EVEN:
            b = tl.load(weight_at)
        else:
            b = tl.load(weight_at, mask=weight_mask, other=0.0)
        total = accumulate(a, b, total, PRECISION)
        unit, at = _ahead((step + 1) // TAPS, first, last, block, slot, part, BLOCK_K, K_UNIT, SPAN, SLOTS)

    n += group * y_group
    total = finish(total, bias, n, n_valid, BIAS, ACTIVATION)
    if POINTWISE:
        y_rows = m.to(INDEX) * y_column
    else:
        image, h = (m // (width * height)).to(INDEX), (m // width % height).to(INDEX)
        y_rows = image * y_image + h * y_row + m % width * y_column
    y_at = y + y_rows[:, None] + n[None, :]
    tl.store(y_at, total.to(y.dtype.element_ty), mask=m_valid[:, None] & n_valid[None, :])
