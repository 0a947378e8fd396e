"""What is cut of a weight on a CPU, as zeros written in place: into the weight itself, and into its gradient.

Masking into a new tensor reads all of it and writes all of it, into fresh pages, twice a step. Where a layer is
computed densely, nothing else tells it from a dense one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from . import dispatch
from .autograd import traced
from .pattern import BlockPattern


def in_place(values: Tensor) -> bool:
    """Whether kept_ and zero_cut_ may be called: on a CPU with a compiler, and no tracer's or transform's stand-in."""
    return (
        type(values) in (Tensor, nn.Parameter)
        and values.device.type == "cpu"
        and not traced()
        and torch._C._get_tracing_state() is None
        and forward_ad._current_level < 0
        and not is_in_torch_dispatch_mode()
        and dispatch.zeros_in_place()
    )


def zero_cut_(values: Tensor, pattern: BlockPattern) -> None:
    """Zeros where `pattern` cuts `values` [out, in, *taps] in dense storage, of any dtype and strides.

    A new version of them is counted if anything there was not zero.
    """
    torch.ops.cannon.zero_cut_(values.detach(), pattern.keep, pattern.out_block, pattern.group_size)


def kept_(weight: Tensor, pattern: BlockPattern) -> Tensor:
    """`weight` [out, in, *taps], itself zeroed where it is cut as by zero_cut_; so is its gradient.

    For one reader whose gradient is a new tensor, as F.linear's and F.conv2d's are: it is written in place.
    """
    return torch.ops.cannon.kept_(weight, pattern.keep, pattern.out_block, pattern.group_size)
