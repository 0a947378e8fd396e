"""Grad-weight of the kept blocks alone: gw[o, c, tap] = sum over positions of grad[position, o] x[position at tap, c].

A tile is BLOCK_O output channels of a column block by BLOCK_C of the input channels that the block keeps, gathered:
small groups fill a tile together, and their addresses are known before the loop. The positions may be split over
several programs whose partial sums `sum_parts` adds in a fixed order, so that results are the same at every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .language import accumulate


@triton.jit
def block_grad_weight(
    grad, x, out,
    row_start, row_group, tile_block, tile_part,  # CSR, and of each tile: its column block, its place among the block's
    rows, height, width,  # positions of grad: all, and of one image
    x_height, x_width,
    x_image, x_row, x_column, grad_image, grad_row, grad_column,  # strides; channels lie side by side
    stride_h, stride_w, origin_h, origin_w, tap_h, tap_w,  # x position = stride * position + origin + tap * tap step
    taps_w,
    out_o, out_c, out_tap, out_slot, out_split,  # strides
    o_limit, c_limit, group_blocks, x_group,  # c_limit and x_group: channels of one group; its column blocks
    rows_per_split,
    O_UNIT: tl.constexpr, C_UNIT: tl.constexpr,
    POINTWISE: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
    DESCRIPTORS: tl.constexpr,  # grad and x are descriptors: boxes of [BLOCK_K, BLOCK_O] and [BLOCK_K, BLOCK_C]
    BLOCK_O: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of one tap (axis 1) over one range of positions (axis 2)."""
    PARTS: tl.constexpr = (O_UNIT + BLOCK_O - 1) // BLOCK_O
    POWER: tl.constexpr = C_UNIT & -C_UNIT
    RUN: tl.constexpr = POWER if POWER < BLOCK_C else BLOCK_C  # so many channels are sure to lie side by side
    INDEX: tl.constexpr = tl.int64 if WIDE else tl.int32

    tile = tl.program_id(0) // PARTS
    tap = tl.program_id(1)
    block = tl.load(tile_block + tile)
    part = tl.load(tile_part + tile)
    first, last = tl.load(row_start + block), tl.load(row_start + block + 1)

    o_0 = tl.program_id(0) % PARTS * BLOCK_O
    o_inside = o_0 + tl.arange(0, BLOCK_O)
    o = block * O_UNIT + o_inside
    o_valid = (o_inside < O_UNIT) & (o < o_limit)
    position = part * BLOCK_C + tl.arange(0, BLOCK_C)
    entry = tl.minimum(first + position // C_UNIT, last)
    c_inside = position % C_UNIT
    c = tl.max_contiguous(tl.multiple_of(tl.load(row_group + entry) * C_UNIT + c_inside, RUN), RUN)
    kept = position < (last - first) * C_UNIT
    c_valid = kept & (c < c_limit)
    c_0 = tl.load(row_group + first + part * BLOCK_C // C_UNIT) * C_UNIT + part * BLOCK_C % C_UNIT
    c_shift = block // group_blocks * x_group

    m_0 = tl.program_id(2) * rows_per_split
    m_end = tl.minimum(m_0 + rows_per_split, rows)
    # The positions of a step. They move on like an odometer: dividing anew at every step would cost more than the dot.
    m = m_0 + tl.arange(0, BLOCK_K)
    w, h, image = m % width, m // width % height, m // (width * height)
    step_w, step_h, step_image = BLOCK_K % width, BLOCK_K // width % height, BLOCK_K // (width * height)
    down, right = origin_h + tap // taps_w * tap_h, origin_w + tap % taps_w * tap_w

    total = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    for at in range(m_0, m_end, BLOCK_K):
        if DESCRIPTORS:
            a = grad.load([at, block * O_UNIT + o_0]).T
            b = x.load([at, c_0])
        else:
            m = at + tl.arange(0, BLOCK_K)
            m_valid = m < m_end
            if POINTWISE:
                grad_rows, x_rows, hit = m.to(INDEX) * grad_column, m.to(INDEX) * x_column, m_valid
            else:
                grad_rows = image.to(INDEX) * grad_image + h.to(INDEX) * grad_row + w * grad_column
                x_h, x_w = h * stride_h + down, w * stride_w + right
                x_rows = image.to(INDEX) * x_image + x_h.to(INDEX) * x_row + x_w * x_column
                hit = m_valid & (x_h >= 0) & (x_h < x_height) & (x_w >= 0) & (x_w < x_width)
                w += step_w
                h += step_h + (w >= width)
                w = tl.where(w >= width, w - width, w)
                image += step_image + (h >= height)
                h = tl.where(h >= height, h - height, h)
            a = tl.load(grad + grad_rows[None, :] + o[:, None], mask=m_valid[None, :] & o_valid[:, None], other=0.0)
            b = tl.load(x + x_rows[:, None] + (c_shift + c)[None, :], mask=hit[:, None] & c_valid[None, :], other=0.0)
        total = accumulate(a, b, total, PRECISION)

    out += tl.program_id(2).to(tl.int64) * out_split + tap * out_tap
    if PACKED:
        # The edges of cut-short blocks too: they are zero.
        out_at = out + (entry.to(tl.int64) * out_slot + c_inside * out_c)[None, :] + (o_inside * out_o)[:, None]
        mask = (o_inside < O_UNIT)[:, None] & kept[None, :]
    else:
        out_at = out + (o.to(tl.int64) * out_o)[:, None] + (c.to(tl.int64) * out_c)[None, :]
        mask = o_valid[:, None] & c_valid[None, :]
    tl.store(out_at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def sum_parts(
    parts, out, block_of,
    splits, size,  # of one split
    taps, out_o, out_c, out_tap, out_slot, o_limit, c_limit,
    O_UNIT: tl.constexpr, C_UNIT: tl.constexpr, PACKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out of either storage = sum of parts [splits, nnz, O_UNIT, taps, C_UNIT], fp32."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    part = parts + index
    for _ in range(splits):
        total += tl.load(part, mask=index < size, other=0.0)
        part += size
    c = index % C_UNIT
    tap = index // C_UNIT % taps
    o = index // (C_UNIT * taps) % O_UNIT
    slot = index // (C_UNIT * taps * O_UNIT)
    mask = index < size
    if PACKED:
        out_at = slot * out_slot
    else:
        o += tl.load(block_of + 2 * slot, mask=mask, other=0).to(tl.int64) * O_UNIT
        c += tl.load(block_of + 2 * slot + 1, mask=mask, other=0).to(tl.int64) * C_UNIT
        out_at = tl.zeros_like(slot)
        mask &= (o < o_limit) & (c < c_limit)
    tl.store(out + out_at + o * out_o + tap * out_tap + c * out_c, total.to(out.dtype.element_ty), mask=mask)
