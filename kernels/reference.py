"""The specification of the block-sparse ops: the dense op on a weight whose cut channel pairs are zero.

Multiplying by the mask also masks the weight's gradient. Every faster kernel must give these numbers.
"""

from __future__ import annotations

from torch import Tensor


def masked_weight(weight: Tensor, mask: Tensor) -> Tensor:
    """`weight` [out, in, *taps] with zeros where `mask`, bool [out, in], is False."""
    return weight * mask.to(weight.dtype).view(*mask.shape, *(1,) * (weight.dim() - 2))
