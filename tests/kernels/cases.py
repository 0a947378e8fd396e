"""Random block-sparse problems and their fp64 answers, for every kind of kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import ACTIVATIONS, dense_weight, masked_weight
from cannon_fx.kernels.window import Window

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def random_pattern(out: int, inp: int, out_block: int, group_size: int, density: float, seed: int = 0) -> BlockPattern:
    shape = -(-out // out_block), -(-inp // group_size)
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    return BlockPattern(keep, out, inp, out_block, group_size)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """‖found - expected‖ / ‖expected‖; NaN when anything is NaN."""
    assert found.shape == expected.shape
    difference, size = (found.detach().double() - expected.detach().double()).norm(), expected.detach().double().norm()
    return float(difference / size if size > 0 else difference)


class LinearCase:
    """x, weight in the chosen storage, bias, upstream gradient, and y, grad_x, grad_weight, grad_bias in fp64."""

    def __init__(
        self,
        rows: int,
        pattern: BlockPattern,
        dtype: torch.dtype,
        packed: bool,
        activation: str = "none",
    ) -> None:
        torch.manual_seed(rows)
        self.pattern, self.packed, self.activation = pattern, packed, activation
        self.x = torch.randn(rows, pattern.in_channels).to(dtype)
        self.bias = torch.randn(pattern.out_channels).to(dtype)
        self.upstream = torch.randn(rows, pattern.out_channels).to(dtype)
        weight = torch.randn(pattern.out_channels, pattern.in_channels).to(dtype)
        self.weight = pack(weight, pattern) if packed else weight
        x, dense, bias = (t.double().requires_grad_() for t in (self.x, weight, self.bias))
        y = ACTIVATIONS[activation](F.linear(x, dense_weight(dense, pattern, False), bias))
        grads = torch.autograd.grad(y, (x, dense, bias), self.upstream.double())
        self.expected = y.detach(), grads[0], pack(grads[1], pattern) if packed else grads[1], grads[2]


class ConvCase:
    """The same for a convolution; images are [N, C, H, W]."""

    def __init__(
        self,
        image: tuple[int, int, int],
        pattern: BlockPattern,
        window: Window,
        dtype: torch.dtype,
        packed: bool,
        channels_last: bool = True,
    ) -> None:
        torch.manual_seed(image[0])
        images, height, width = image
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.pattern, self.packed, self.window = pattern, packed, window
        x = torch.randn(images, pattern.in_channels * window.groups, height, width)
        self.x = x.to(dtype).contiguous(memory_format=layout)
        self.bias = torch.randn(pattern.out_channels).to(dtype)
        size = window.out_size(height, width)
        self.upstream = torch.randn(images, pattern.out_channels, *size).to(dtype).contiguous(memory_format=layout)
        weight = torch.randn(pattern.out_channels, pattern.in_channels, *window.taps).to(dtype)
        weight = weight.contiguous(memory_format=layout)
        self.weight = pack(weight, pattern) if packed else weight
        x64, dense, bias = (t.double().requires_grad_() for t in (self.x, weight, self.bias))
        masked = masked_weight(dense, pattern.spread(pattern.keep))
        y = F.conv2d(x64, masked, bias, window.stride, window.padding, window.dilation, window.groups)
        grads = torch.autograd.grad(y, (x64, dense, bias), self.upstream.double())
        self.expected = y.detach(), grads[0], pack(grads[1], pattern) if packed else grads[1], grads[2]
