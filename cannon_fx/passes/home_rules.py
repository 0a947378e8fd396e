"""The op table: how each op's result finds its home, and which elements travel for it.

`RULES[op]` is the specification, for all overloads of an op and for its in-place form. An op that is not in it
is a movement if its result is a view of its operand, pointwise or a reduction if PyTorch tags it so. See
"Homes" in docs/architecture.md for the families.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._ops import OpOverload

from cannon_fx.passes.home_calls import Rule
from cannon_fx.passes.home_rules_lines import (
    folded,
    given,
    group_normalised,
    indexed,
    last,
    named,
    normalised,
    normalized_shape,
    picked,
    pixels,
    reduced,
    together,
)
from cannon_fx.passes.home_rules_products import (
    added_product,
    attention,
    convolution,
    linear,
    matrix_product,
    recurrent,
)
from cannon_fx.passes.home_rules_still import (
    assigned,
    chosen,
    joined,
    looked_up,
    made_here,
    moved_as,
    padded,
    pointwise,
    rearranged,
    reshaped,
    restrided,
    spread,
    stacked,
    still,
    turned,
)

aten = torch.ops.aten

RESHAPES = (aten.view, aten.reshape, aten._unsafe_view, aten.flatten, aten.unflatten, aten.view_as, aten.reshape_as)

REARRANGED = (
    *(aten.repeat, aten.repeat_interleave, aten.reflection_pad1d),
    *(aten.reflection_pad2d, aten.reflection_pad3d, aten.replication_pad1d, aten.replication_pad2d),
    *(aten.replication_pad3d, aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle),
    *(aten.im2col, aten.tril, aten.triu, aten.diag_embed, aten.slice_scatter, aten.select_scatter, aten.rot90),
)

STILL = (
    *(aten.to, aten._to_copy, aten.type_as, aten.contiguous, aten.clone, aten.lift_fresh_copy),
    *(aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.native_dropout, aten.real, aten.imag),
    *(aten.batch_norm, aten._native_batch_norm_legit_no_training),
)

POINTWISE = (aten.prelu, aten.hardswish, aten.floor_divide, aten.__and__, aten.__or__, aten.complex, aten.polar)

MADE_HERE = (
    *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.rand_like, aten.randn_like),
    *(aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.fill, aten.zero),
)

WINDOWS = (
    *(aten.max_pool1d, aten.max_pool2d, aten.max_pool3d, aten.max_pool1d_with_indices),
    *(aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d),
    *(aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d),
    *(aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d),
    *(aten.adaptive_max_pool1d, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d),
    *(aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d, aten._upsample_nearest_exact2d),
    *(aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_trilinear3d),
    *(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa),
)

LINES = (
    *(aten.cumsum, aten.cumprod, aten.cummax, aten.cummin, aten.sort, aten.topk, aten.argsort, aten.median),
    *(aten.kthvalue, aten.mode, aten._fft_c2c, aten._fft_r2c, aten._fft_c2r),
)

CONVOLUTIONS = (
    *(aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution),
    *(aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d),
)

RULES: dict[Any, Rule] = (
    {operator.getitem: moved_as(operator.getitem)}
    | dict.fromkeys(RESHAPES, reshaped)
    | {op: rearranged(op) for op in REARRANGED}
    | {aten.pad: padded, aten.constant_pad_nd: padded}
    | {aten.cat: joined, aten.concat: joined, aten.stack: stacked, aten.copy: assigned}
    | {aten.as_strided: restrided}
    | {aten.roll: turned(aten.roll), aten.flip: turned(aten.flip)}
    | dict.fromkeys(STILL, still)
    | dict.fromkeys(MADE_HERE, made_here)
    | dict.fromkeys(POINTWISE, pointwise)
    | {aten.where: chosen, aten.embedding: looked_up, aten.one_hot: spread, aten.view_as_real: spread}
    | dict.fromkeys(WINDOWS, together(named))
    | dict.fromkeys(LINES, together(given))
    | {aten.view_as_complex: together(last(1)), aten.col2im: folded}
    | dict.fromkeys((aten.softmax, aten._softmax, aten.log_softmax, aten._log_softmax), normalised(2))
    | dict.fromkeys((aten.layer_norm, aten.native_layer_norm), normalised(2, normalized_shape))
    | {aten.rms_norm: normalised(1, normalized_shape), aten.group_norm: group_normalised}
    | {aten.instance_norm: normalised(2, pixels)}
    | dict.fromkeys((aten.gather, aten.index_select), picked)
    | {aten.index: indexed}
    | dict.fromkeys((aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot), matrix_product)
    | dict.fromkeys((aten.addmm, aten.baddbmm), added_product)
    | {aten.linear: linear, aten.scaled_dot_product_attention: attention}
    | dict.fromkeys(CONVOLUTIONS, convolution)
    | dict.fromkeys((aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu), recurrent)
)


def rule_for(op: Any) -> Rule | None:
    """The rule of an op of the graph; None where it has none of its own."""
    if not isinstance(op, OpOverload):
        return RULES.get(op)
    packet = op.overloadpacket
    name = packet.__name__
    in_place = name.endswith("_") and not name.endswith("__")
    packet = getattr(aten, name[:-1], packet) if in_place else packet
    if rule := RULES.get(packet):
        return rule
    if torch.Tag.pointwise in op.tags:
        return pointwise
    if torch.Tag.reduction in op.tags:
        return reduced
    if any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns):
        return moved_as(op)
    if torch.Tag.inplace_view in op.tags:
        return moved_as(packet)
    return None
