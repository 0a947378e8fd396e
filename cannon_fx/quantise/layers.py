"""The module that stands for a layer on the chip: integers in, sums from the crossbars, and back to numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from cannon_fx.hw.chip import Chip
from cannon_fx.layer import Layer
from cannon_fx.modules import BlockSparse
from cannon_fx.quantise.adc import Adc
from cannon_fx.quantise.crossbars import Crossbars

AT_ONCE = 2**23
"""Activations, or sums of columns, at once; bounds memory."""

SAMPLED = 1024
"""Positions by which an ADC's levels are chosen."""


@dataclass(frozen=True)
class Grid:
    """Integers 0 … 2^bits - 1 for numbers: x = scale x (integer - zero), in which 0 is exact."""

    bits: int
    scale: float
    zero: int

    @classmethod
    def of(cls, x: Tensor, bits: int) -> Grid:
        """From the least and the largest number of `x`."""
        low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
        scale = (high - low) / (2**bits - 1) or 1.0
        return cls(bits, scale, round(-low / scale))

    def __call__(self, x: Tensor) -> Tensor:
        """The nearest integers, int64; numbers outside become the least or the largest."""
        return (x.double() / self.scale).round_().add_(self.zero).clamp_(0, 2**self.bits - 1).long()


def weight_codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers -(2^(bits-1) - 1) … 2^(bits-1) - 1, int64 like `weight` [N, …], and a float64 scale for each channel."""
    largest = 2 ** (bits - 1) - 1
    flat = weight.double().flatten(1)
    scale = flat.abs().amax(1) / max(largest, 1)
    scale[scale == 0] = 1.0
    return (flat / scale[:, None]).round_().clamp_(-largest, largest).long().view(weight.shape), scale


class Unfused(Tensor):
    """A weight that torch's fused transformer layers do not take: they would pass the layer's own forward by."""


class ChipLayer(nn.Module):
    """Computes a layer as its crossbars do. Its first input sets the range of activations and the levels of ADCs."""

    def __init__(self, old: BlockSparse, layer: Layer, chip: Chip, keep: NDArray[np.bool_]) -> None:
        """`old` computes the layer so far; `keep` [J, G] are its kept connections."""
        super().__init__()
        codes, self.scale = weight_codes(old.matrix(old.weight.detach()), chip.precision.weight_bits)
        self.weight = old.weight.detach().as_subclass(Unfused)
        self.bias = old.bias if isinstance(old.bias, Tensor) else None
        self.crossbars = Crossbars.of(layer, chip, keep, codes.flatten(1))
        self.conv = old if isinstance(old, nn.Conv2d) else None
        self.grid: Grid | None = None
        self.adc: Adc | None = None

    def forward(self, input: Tensor) -> Tensor:
        """As the layer's module."""
        if self.conv is None:
            found = self._product(input.reshape(-1, input.shape[-1]).t())
            return found.t().reshape(*input.shape[:-1], -1).to(input.dtype)
        conv, (left, right, top, bottom) = self.conv, self.conv._reversed_padding_repeated_twice
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        padded = pad(input, (left, right, top, bottom), mode)
        rows = unfold(padded, conv.kernel_size, conv.dilation, 0, conv.stride)  # [B, K, positions]
        height = (padded.shape[2] - conv.dilation[0] * (conv.kernel_size[0] - 1) - 1) // conv.stride[0] + 1
        found = self._product(rows.transpose(0, 1).flatten(1)).unflatten(1, (len(input), height, -1))
        return found.transpose(0, 1).contiguous().to(input.dtype)

    def _product(self, rows: Tensor) -> Tensor:
        """float64 [N, P] of the inputs [K, P]."""
        if self.grid is None:
            self._calibrate(rows)
        assert self.grid is not None
        crossbars = self.crossbars
        at_once = max(1, AT_ONCE // max(len(rows), *(block.cells.shape[:3].numel() for block in crossbars.blocks)))
        parts = [self._integers(self.grid(part)) for part in rows.split(at_once, 1)]
        zero = self.grid.zero * (crossbars.codes * crossbars.driven).sum(1, keepdim=True)
        found = (torch.cat(parts, 1) - zero) * (self.grid.scale * self.scale[:, None])
        return found if self.bias is None else found + self.bias.detach()[:, None]

    def _integers(self, inputs: Tensor) -> Tensor:
        return self.crossbars.exact(inputs) if self.adc is None else self.crossbars.read(inputs, self.adc)

    def _calibrate(self, rows: Tensor) -> None:
        chip = self.crossbars.chip
        self.grid = Grid.of(rows, chip.precision.activation_bits)
        if chip.compute is None or self.crossbars.largest_sum < 2**chip.compute.adc.bits:
            return  # every sum has a level of its own
        sampled = rows[:, :: -(-rows.shape[1] // SAMPLED)]
        self.adc = Adc.fit(chip.compute.adc.bits, self.crossbars.seen(self.grid(sampled)), rows.device)
