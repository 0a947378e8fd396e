"""One way or more to call every op of the table: on `z`, `w` and `x`, activations [1, 6, 6, 6] on different tiles.

`x` is at the port; `m` has constants: `token` [1, 6, 6, 6], `statistic` [6], and `index`, an int64 [6].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten
Case = Callable[[Any, Tensor, Tensor, Tensor], Any]


def numbers(value: Tensor) -> Tensor:
    """An activation as int64 indices below 6."""
    return (value > 0).long()


def heads(value: Tensor) -> Tensor:
    """[1, 2 heads, 6, 18]: some of a head's features on different tiles."""
    return value.flatten(2).view(1, 6, 2, 18).transpose(1, 2)


VIEWS: dict[str, Case] = {
    "view": lambda m, z, w, x: z.contiguous().view(1, 12, 18),
    "reshape": lambda m, z, w, x: aten.reshape(z, [1, 4, 9, 6]),
    "_unsafe_view": lambda m, z, w, x: aten._unsafe_view(z.contiguous(), [3, 72]),
    "flatten": lambda m, z, w, x: z.flatten(1, 2),
    "unflatten": lambda m, z, w, x: aten.unflatten.int(z, 1, [2, 3]),
    "as_strided": lambda m, z, w, x: aten.as_strided(z.contiguous(), [3, 8], [60, 5], 2),
    "view_as": lambda m, z, w, x: aten.view_as(z.contiguous(), w.contiguous().view(1, 12, 18)),
    "reshape_as": lambda m, z, w, x: aten.reshape_as(z, w.reshape(1, 12, 18)),
}
REARRANGED: dict[str, Case] = {
    "repeat": lambda m, z, w, x: z.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda m, z, w, x: z.repeat_interleave(2, 1),
    "constant_pad_nd": lambda m, z, w, x: aten.constant_pad_nd(z, [1, 0, 0, 2, 1, 1], 3.0),
    "pad": lambda m, z, w, x: F.pad(z, (1, 2, 0, 1), mode="circular"),
    "reflection_pad1d": lambda m, z, w, x: aten.reflection_pad1d(z[0], [1, 2]),
    "reflection_pad2d": lambda m, z, w, x: aten.reflection_pad2d(z, [1, 2, 0, 3]),
    "reflection_pad3d": lambda m, z, w, x: aten.reflection_pad3d(z, [1, 2, 0, 3, 1, 0]),
    "replication_pad1d": lambda m, z, w, x: aten.replication_pad1d(z[0], [1, 2]),
    "replication_pad2d": lambda m, z, w, x: aten.replication_pad2d(z, [1, 2, 0, 3]),
    "replication_pad3d": lambda m, z, w, x: aten.replication_pad3d(z, [1, 2, 0, 3, 1, 0]),
    "pixel_shuffle": lambda m, z, w, x: F.pixel_shuffle(z[:, :4], 2),
    "pixel_unshuffle": lambda m, z, w, x: F.pixel_unshuffle(z, 3),
    "channel_shuffle": lambda m, z, w, x: F.channel_shuffle(z, 2),
    "im2col": lambda m, z, w, x: F.unfold(z, 3, padding=1, stride=2),
    "tril": lambda m, z, w, x: z.tril(),
    "triu": lambda m, z, w, x: z.triu(1),
    "diag_embed": lambda m, z, w, x: aten.diag_embed(z[0, 0]),
    "slice_scatter": lambda m, z, w, x: aten.slice_scatter(z, w[:, 1:3], 1, 2, 4),
    "select_scatter": lambda m, z, w, x: aten.select_scatter(z, w[:, 1], 1, 2),
    "rot90": lambda m, z, w, x: aten.rot90(z, 1, [1, 2]),
    "cat": lambda m, z, w, x: torch.cat([z, w[:, :2], m.token], 1),
    "concat": lambda m, z, w, x: aten.concat([z, w], -1),
    "stack": lambda m, z, w, x: torch.stack([z, w], 2),
    "roll": lambda m, z, w, x: z.roll((1, 2), (1, 2)),
    "flip": lambda m, z, w, x: z.flip((1, 3)),
}
STILL: dict[str, Case] = {
    "to": lambda m, z, w, x: z.double(),
    "_to_copy": lambda m, z, w, x: aten._to_copy(z, dtype=torch.float64),
    "type_as": lambda m, z, w, x: z.type_as(w),
    "contiguous": lambda m, z, w, x: z.contiguous(),
    "clone": lambda m, z, w, x: z.clone(),
    "lift_fresh_copy": lambda m, z, w, x: aten.lift_fresh_copy(z),
    "dropout": lambda m, z, w, x: F.dropout(z, 0.5, False),
    "feature_dropout": lambda m, z, w, x: aten.feature_dropout(z, 0.5, False),
    "alpha_dropout": lambda m, z, w, x: aten.alpha_dropout(z, 0.5, False),
    "native_dropout": lambda m, z, w, x: aten.native_dropout(z, 0.5, False)[0],
    "real": lambda m, z, w, x: torch.complex(z, w).real,
    "imag": lambda m, z, w, x: torch.complex(z, w).imag,
    "batch_norm": lambda m, z, w, x: F.batch_norm(z, m.statistic, m.statistic),
    "_native_batch_norm_legit_no_training": lambda m, z, w, x: aten._native_batch_norm_legit_no_training(
        z, None, None, m.statistic, m.statistic, 0.1, 1e-5
    )[0],
}
POINTWISE: dict[str, Case] = {
    "prelu": lambda m, z, w, x: F.prelu(z, m.token[0, 0, 0]),
    "hardswish": lambda m, z, w, x: F.hardswish(z),
    "floor_divide": lambda m, z, w, x: z // w,
    "__and__": lambda m, z, w, x: (z > 0) & (w > 0),
    "__or__": lambda m, z, w, x: (z > 0) | (w[:, :1] > 0),
    "complex": lambda m, z, w, x: torch.view_as_real(torch.complex(z, w)),
    "polar": lambda m, z, w, x: torch.view_as_real(torch.polar(z, w)),
    "add": lambda m, z, w, x: w[:, :, :1] + z,
    "mul": lambda m, z, w, x: z * w * m.token,
    "masked_fill": lambda m, z, w, x: z.masked_fill(w[:, :1] > 0, 0.0),
    "addcmul": lambda m, z, w, x: torch.addcmul(z[0, 0], w, x),
    "where": lambda m, z, w, x: torch.where(w > 0, z, x),
}
MADE: dict[str, Case] = {
    "zeros_like": lambda m, z, w, x: torch.zeros_like(z) + w,
    "ones_like": lambda m, z, w, x: torch.ones_like(z) + w,
    "full_like": lambda m, z, w, x: torch.full_like(z, 2.0) + w,
    "empty_like": lambda m, z, w, x: torch.empty_like(z) + w,
    "rand_like": lambda m, z, w, x: torch.rand_like(z) + w,
    "randn_like": lambda m, z, w, x: torch.randn_like(z) + w,
    "new_zeros": lambda m, z, w, x: z.new_zeros(1, 6, 6, 6) + w,
    "new_ones": lambda m, z, w, x: z.new_ones(6, 6) + w,
    "new_full": lambda m, z, w, x: z.new_full((6,), 2.0) + w,
    "new_empty": lambda m, z, w, x: z.new_empty(6) + w,
    "fill": lambda m, z, w, x: aten.fill(z, 2.0) + w,
    "zero": lambda m, z, w, x: aten.zero(z) + w,
}
LINES: dict[str, Case] = {
    "max_pool1d": lambda m, z, w, x: F.max_pool1d(z[0], 2),
    "max_pool2d": lambda m, z, w, x: F.max_pool2d(z, 3, 2, 1),
    "max_pool3d": lambda m, z, w, x: F.max_pool3d(z, 2),
    "max_pool1d_with_indices": lambda m, z, w, x: F.max_pool1d(z[0], 2, return_indices=True)[0],
    "max_pool2d_with_indices": lambda m, z, w, x: F.max_pool2d(z, 2, return_indices=True)[0],
    "max_pool3d_with_indices": lambda m, z, w, x: F.max_pool3d(z, 2, return_indices=True)[0],
    "avg_pool1d": lambda m, z, w, x: F.avg_pool1d(z[0], 2),
    "avg_pool2d": lambda m, z, w, x: F.avg_pool2d(z, 2),
    "avg_pool3d": lambda m, z, w, x: F.avg_pool3d(z, 2),
    "adaptive_avg_pool1d": lambda m, z, w, x: F.adaptive_avg_pool1d(z[0], 2),
    "adaptive_avg_pool2d": lambda m, z, w, x: F.adaptive_avg_pool2d(z, 2),
    "adaptive_avg_pool3d": lambda m, z, w, x: F.adaptive_avg_pool3d(z, 2),
    "_adaptive_avg_pool2d": lambda m, z, w, x: aten._adaptive_avg_pool2d(z, [1, 2]),
    "_adaptive_avg_pool3d": lambda m, z, w, x: aten._adaptive_avg_pool3d(z, [1, 2, 3]),
    "adaptive_max_pool1d": lambda m, z, w, x: F.adaptive_max_pool1d(z[0], 2),
    "adaptive_max_pool2d": lambda m, z, w, x: F.adaptive_max_pool2d(z, 2),
    "adaptive_max_pool3d": lambda m, z, w, x: F.adaptive_max_pool3d(z, 2),
    "upsample_nearest1d": lambda m, z, w, x: F.interpolate(z[0], 3),
    "upsample_nearest2d": lambda m, z, w, x: F.interpolate(z, (2, 4)),
    "upsample_nearest3d": lambda m, z, w, x: F.interpolate(z[None], (3, 2, 4)),
    "_upsample_nearest_exact2d": lambda m, z, w, x: F.interpolate(z, (2, 4), mode="nearest-exact"),
    "upsample_linear1d": lambda m, z, w, x: F.interpolate(z[0], 3, mode="linear"),
    "upsample_bilinear2d": lambda m, z, w, x: F.interpolate(z, (2, 4), mode="bilinear"),
    "upsample_bicubic2d": lambda m, z, w, x: F.interpolate(z, (2, 4), mode="bicubic"),
    "upsample_trilinear3d": lambda m, z, w, x: F.interpolate(z[None], (3, 2, 4), mode="trilinear"),
    "_upsample_bilinear2d_aa": lambda m, z, w, x: F.interpolate(z, (2, 4), mode="bilinear", antialias=True),
    "_upsample_bicubic2d_aa": lambda m, z, w, x: F.interpolate(z, (2, 4), mode="bicubic", antialias=True),
    "col2im": lambda m, z, w, x: F.fold(z.flatten(2)[:, :, :24].reshape(1, 24, 6).roll(1, 1), (3, 4), 2),
    "cumsum": lambda m, z, w, x: z.cumsum(1),
    "cumprod": lambda m, z, w, x: z.cumprod(-1),
    "cummax": lambda m, z, w, x: z.cummax(1).values,
    "cummin": lambda m, z, w, x: torch.stack(z.cummin(2)),
    "median": lambda m, z, w, x: z.median(1, keepdim=True).values,
    "kthvalue": lambda m, z, w, x: z.kthvalue(2, 3).values,
    "mode": lambda m, z, w, x: z.mode(1).values,
    "sort": lambda m, z, w, x: torch.stack(z.sort(2)),
    "topk": lambda m, z, w, x: z.topk(2, 1).values,
    "argsort": lambda m, z, w, x: z.argsort(1),
    "_fft_c2c": lambda m, z, w, x: torch.view_as_real(aten._fft_c2c(torch.complex(z, w), [1, 2], 0, True)),
    "_fft_r2c": lambda m, z, w, x: torch.view_as_real(aten._fft_r2c(z, [1, 3], 0, True)),
    "_fft_c2r": lambda m, z, w, x: aten._fft_c2r(torch.complex(z, w), [2, 3], 0, 6),
    "view_as_complex": lambda m, z, w, x: torch.view_as_complex(z.contiguous().view(1, 6, 6, 3, 2)).real,
    "view_as_real": lambda m, z, w, x: torch.view_as_real(torch.complex(z, w)),
}
STATISTICS: dict[str, Case] = {
    "softmax": lambda m, z, w, x: z.softmax(1),
    "_softmax": lambda m, z, w, x: aten._softmax(z, -1, False),
    "log_softmax": lambda m, z, w, x: z.log_softmax(2),
    "_log_softmax": lambda m, z, w, x: aten._log_softmax(z, 1, False),
    "layer_norm": lambda m, z, w, x: F.layer_norm(z, (6, 6)),
    "native_layer_norm": lambda m, z, w, x: torch.cat(
        [o.flatten() for o in aten.native_layer_norm(z, [6], None, None, 1e-5)]
    ),
    "rms_norm": lambda m, z, w, x: F.rms_norm(z, (6,)),
    "group_norm": lambda m, z, w, x: F.group_norm(z, 3),
    "instance_norm": lambda m, z, w, x: F.instance_norm(z),
    "sum": lambda m, z, w, x: z.sum((1, 2)),
    "mean": lambda m, z, w, x: z.mean(1, keepdim=True),
    "amax": lambda m, z, w, x: z.amax((-1, 1)),
    "max": lambda m, z, w, x: torch.stack(z.max(1)),
    "prod": lambda m, z, w, x: z.prod(3),
    "var": lambda m, z, w, x: z.var((2, 3)),
    "any": lambda m, z, w, x: (z > 0).any(1),
    "argmax": lambda m, z, w, x: z.argmax(1),
    "linalg_vector_norm": lambda m, z, w, x: torch.linalg.vector_norm(z, 2, [1]),
    "mean of all": lambda m, z, w, x: z.mean(),
}
INDEX: dict[str, Case] = {
    "embedding": lambda m, z, w, x: F.embedding(numbers(z), m.token[0, 0]),
    "one_hot": lambda m, z, w, x: aten.one_hot(numbers(z), 3),
    "gather": lambda m, z, w, x: z.gather(1, numbers(w)[:, :2, :, :3]),
    "gather by a constant": lambda m, z, w, x: z.gather(3, m.index.expand(1, 6, 6, 6)),
    "index_select": lambda m, z, w, x: z.index_select(1, numbers(w)[0, :, 0, 0]),
    "index_select of a constant": lambda m, z, w, x: m.token.index_select(2, numbers(z)[0, 0, 0]),
    "index": lambda m, z, w, x: z[:, numbers(w)[0, 0, 0, :2]],
    "index by neighbours": lambda m, z, w, x: z[:, numbers(w)[0, :2, 0, :1], numbers(x)[0, 0, 0, :3]],
    "index apart": lambda m, z, w, x: z[:, numbers(w)[0, 0, 0, :4], :, m.index[:4]],
    "index of a constant": lambda m, z, w, x: m.token[0, 0][m.index, numbers(z)],
}
PRODUCTS: dict[str, Case] = {
    "matmul": lambda m, z, w, x: z @ w,
    "matmul, broadcast": lambda m, z, w, x: z @ w[0, 0],
    "matmul with a vector": lambda m, z, w, x: z @ w[0, 0, 0],
    "matmul of a constant": lambda m, z, w, x: m.token @ z,
    "mm": lambda m, z, w, x: aten.mm(z[0, 0], w[0, :, 0]),
    "bmm": lambda m, z, w, x: torch.bmm(z[0], w[0].transpose(1, 2)),
    "mv": lambda m, z, w, x: aten.mv(z[0, :, 0], w[0, :, 1, 1]),
    "dot": lambda m, z, w, x: aten.dot(z[0, :, 0, 0], w[0, 1, :, 1]),
    "addmm": lambda m, z, w, x: torch.addmm(x[0, 0], z[0, :, 0], w[0, 0]),
    "baddbmm": lambda m, z, w, x: torch.baddbmm(x[0], z[0], w[0]),
    "linear": lambda m, z, w, x: F.linear(z, m.token[0, 0]),
    "linear, computed weight": lambda m, z, w, x: F.linear(z, w[0, :, 2]),
    "scaled_dot_product_attention": lambda m, z, w, x: F.scaled_dot_product_attention(heads(z), heads(w), heads(x)),
    "attention, masked": lambda m, z, w, x: F.scaled_dot_product_attention(
        heads(z), heads(w), heads(w), attn_mask=x[:, :1]
    ),
    "attention, grouped queries": lambda m, z, w, x: F.scaled_dot_product_attention(
        torch.cat([heads(w), heads(w.flip(1))], 1), heads(z), heads(x), enable_gqa=True
    ),
    "conv1d": lambda m, z, w, x: F.conv1d(z[0], m.token[0, 0, :, :2].unsqueeze(1), groups=6),
    "conv2d": lambda m, z, w, x: F.conv2d(
        z, m.token[0, :, :3, :3].unsqueeze(1).repeat(1, 3, 1, 1), padding=1, groups=2
    ),
    "conv2d, computed weight": lambda m, z, w, x: F.conv2d(z, w[0, :, :3, :3].unsqueeze(1), groups=6),
    "conv3d": lambda m, z, w, x: F.conv3d(z[None], m.token[:, :1, :3, :3, None]),
    "convolution": lambda m, z, w, x: aten.convolution(
        z, m.token[:, 0, :, :3, None].transpose(0, 1), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 6
    ),
    "conv_transpose1d": lambda m, z, w, x: F.conv_transpose1d(z[0], m.token[0, 0, :, :2].unsqueeze(1), groups=6),
    "conv_transpose2d": lambda m, z, w, x: F.conv_transpose2d(z, w[0, :, :2, :2].unsqueeze(1), groups=2),
    "conv_transpose3d": lambda m, z, w, x: F.conv_transpose3d(z[None], m.token[:, :2, :3, :3, None]),
    "lstm": lambda m, z, w, x: torch.cat([m.lstm(z[0])[0].flatten(), *(state.flatten() for state in m.lstm(z[0])[1])]),
    "gru": lambda m, z, w, x: torch.cat([o.flatten() for o in m.gru(z[0], w[0, :1])]),
    "rnn_tanh": lambda m, z, w, x: m.rnn(z[0])[0],
    "rnn_relu": lambda m, z, w, x: m.rnn_relu(z[0])[0],
}


def assign(m: Any, z: Tensor, w: Tensor, x: Tensor) -> Tensor:
    result = torch.zeros(1, 6, 6, 6)
    early = result.transpose(1, 2)  # a view from before sees it too
    result[:, 1:4] = z[:, :3]
    result[:, :, 5] += w[:, :, 0]
    return early


def assign_over(m: Any, z: Tensor, w: Tensor, x: Tensor) -> Tensor:
    result = z.clone()
    result[:, 1:3] = w[:, 1:3]
    result[:, 4:].zero_()
    return torch.cat([result, z], 1)


def in_place(m: Any, z: Tensor, w: Tensor, x: Tensor) -> Tensor:
    result = z.clone()
    F.hardswish(result.relu_().add_(w[:, :1]).squeeze_(0), inplace=True)
    return result


ASSIGNED: dict[str, Case] = {"copy": assign, "copy, over activations": assign_over, "in place": in_place}

CASES: dict[str, Case] = (
    VIEWS | REARRANGED | STILL | POINTWISE | MADE | LINES | STATISTICS | INDEX | PRODUCTS | ASSIGNED
)
