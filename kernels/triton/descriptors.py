"""Forward and grad-input by tensor descriptors: the product of `matmul.py` where the device copies boxes itself (TMA).

One instruction fetches a whole tile, zero-filled outside the tensor, so a step costs no address arithmetic and no mask:
for a convolution the rows of a tile are a box of positions, and a tap shifts the box. A persistent grid: each program
walks tiles that lie `num_programs` apart, those with most work first. Asks for what `descriptors_fit` says: blocks that
are multiples of the tile, stride 1, one group.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .language import accumulate, finish, tile_of


@triton.jit
def block_matmul_descriptors(
    x, weight,  # descriptors: boxes of [image, h, w, k]; of [o, tap_h, tap_w, c], after a slot when packed
    bias, y,
    start, block, slot, order, spans,  # the schedule
    images, height, width,  # positions of y; a linear layer has 1 image of height 1
    y_image, y_row, y_column,  # strides
    origin_h, origin_w, tap_h, tap_w,  # x position = y position + origin + tap * tap step
    n_limit,
    TAPS: tl.constexpr, TAPS_W: tl.constexpr, N_UNIT: tl.constexpr, K_UNIT: tl.constexpr,
    PACKED: tl.constexpr, K_FIRST: tl.constexpr,
    BIAS: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    BOX_IMAGES: tl.constexpr, BOX_H: tl.constexpr, BOX_W: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
):  # fmt: skip
    """K_FIRST says that k is the weight's first dimension (grad-input)."""
    BLOCK_M: tl.constexpr = BOX_IMAGES * BOX_H * BOX_W
    PARTS: tl.constexpr = N_UNIT // BLOCK_N
    STEPS: tl.constexpr = K_UNIT // BLOCK_K
    boxes_h, boxes_w = tl.cdiv(height, BOX_H), tl.cdiv(width, BOX_W)
    row_tiles = tl.cdiv(images, BOX_IMAGES) * boxes_h * boxes_w
    column_tiles = spans * PARTS

    for index in range(tl.program_id(0), row_tiles * column_tiles, tl.num_programs(0)):
        row_tile, column_tile = tile_of(index, row_tiles, column_tiles, GROUP_M)
        span = tl.load(order + column_tile // PARTS)
        first = tl.load(start + span)
        last = tl.load(start + span + 1)
        inside = column_tile % PARTS * BLOCK_N
        image_0 = row_tile // (boxes_h * boxes_w) * BOX_IMAGES
        h_0 = row_tile // boxes_w % boxes_h * BOX_H
        w_0 = row_tile % boxes_w * BOX_W

        total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        unit = tl.load(block + first)
        at = tl.load(slot + first)
        for step in range((last - first) * STEPS * TAPS):
            k_inside = step // TAPS % STEPS * BLOCK_K
            tap = step % TAPS
            down, right = tap // TAPS_W, tap % TAPS_W
            k = unit * K_UNIT + k_inside
            box = x.load([image_0, h_0 + origin_h + down * tap_h, w_0 + origin_w + right * tap_w, k])
            if PACKED:
                row, column = inside, k_inside
            else:
                row, column = span * N_UNIT + inside, k
            if K_FIRST:
                row, column = column, row
            if PACKED:
                tile = weight.load([at, row, down, right, column])
            else:
                tile = weight.load([row, down, right, column])
            if K_FIRST:
                b = tile.reshape(BLOCK_K, BLOCK_N)
            else:
                b = tile.reshape(BLOCK_N, BLOCK_K).T
            total = accumulate(box.reshape(BLOCK_M, BLOCK_K), b, total, PRECISION)
            ahead = first + (step + 1) // (TAPS * STEPS)
            unit = tl.load(block + ahead)
            at = tl.load(slot + ahead)

        n = span * N_UNIT + inside + tl.arange(0, BLOCK_N)
        n_valid = n < n_limit
        total = finish(total, bias, n, n_valid, BIAS, ACTIVATION)
        m = tl.arange(0, BLOCK_M)
        image = image_0 + m // (BOX_H * BOX_W)
        h = h_0 + m // BOX_W % BOX_H
        w = w_0 + m % BOX_W
        m_valid = (image < images) & (h < height) & (w < width)
        y_rows = image.to(tl.int64) * y_image + h.to(tl.int64) * y_row + w.to(tl.int64) * y_column
        y_at = y + y_rows[:, None] + n[None, :]
        tl.store(y_at, total.to(y.dtype.element_ty), mask=m_valid[:, None] & n_valid[None, :])
