"""A layer's integer weights in the cells of its crossbars, and their product with integer activations.

As hw/compute.py counts it: activations enter in pulses of input_bits, the lowest first; of one crossbar, the driven
rows of one read are summed up in each column, and an ADC reads the sum. All after that is digital and exact: slices and
pulses are shifted and added.

A weight lies in slices of cell_bits, one to a column. With cells of one bit it is a two's complement, whose highest
slice counts negative. With more it is stored plus 2^(weight_bits - 1), since no cell is negative, and the sum of the
activations times that is taken off afterwards (ISAAC's way, ISCA 2016).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from cannon_fx.compute import kept_rows
from cannon_fx.hw.arrays import Floats, Ints
from cannon_fx.hw.chip import Chip
from cannon_fx.layer import Layer
from cannon_fx.quantise.adc import Adc


@dataclass(frozen=True, eq=False)
class ColumnBlock:
    """The reads of one column block: `rows` int64 [reads, r], the rows of the weight that are driven together.

    `cells` float32 [reads, columns, S, r]: what their cells hold. Reads of fewer rows are filled up with row K, of
    zeros.
    """

    rows: Tensor
    cells: Tensor


@dataclass(frozen=True, eq=False)
class Crossbars:
    """The crossbars of a layer with weights `codes`, int64 [N, K], output channels by rows of the weight."""

    chip: Chip
    codes: Tensor
    driven: Tensor
    """bool [N, K]: where the row carries a kept weight of the channel's column block"""
    blocks: tuple[ColumnBlock, ...]

    @classmethod
    def of(cls, layer: Layer, chip: Chip, keep: NDArray[np.bool_], codes: Tensor) -> Crossbars:
        """`keep` [J, G] are the layer's kept connections, of which the rows are driven."""
        kept = kept_rows(layer, keep)
        bits, cell_bits = chip.precision.weight_bits, chip.crossbar.cell_bits
        stored = pad((codes + _offset(chip)) & (2**bits - 1), (0, 1))  # row K: nothing
        shifts = torch.arange(math.ceil(bits / cell_bits), device=codes.device) * cell_bits
        blocks, driven = [], torch.zeros_like(codes, dtype=torch.bool)
        for j, (first, last) in enumerate(pairwise([0, *np.cumsum(layer.column_channels).tolist()])):
            rows = torch.from_numpy(_reads(layer, chip, kept[:, j])).to(codes.device)
            slices = (stored[first:last, rows, None] >> shifts) & (2**cell_bits - 1)  # [columns, reads, r, S]
            blocks.append(ColumnBlock(rows, slices.permute(1, 0, 3, 2).float().contiguous()))
            driven[first:last, rows[rows < codes.shape[1]]] = True
        return cls(chip, codes, driven, tuple(blocks))

    @property
    def slices(self) -> int:
        """S, the cells of one weight."""
        return math.ceil(self.chip.precision.weight_bits / self.chip.crossbar.cell_bits)

    @property
    def input_bits(self) -> int:
        """Bits of one pulse."""
        compute, bits = self.chip.compute, self.chip.precision.activation_bits
        return min(compute.input_bits, bits) if compute else bits

    @property
    def largest_sum(self) -> int:
        """What one column's sum can come to at most."""
        rows = max(block.rows.shape[1] for block in self.blocks)
        return rows * (2**self.chip.crossbar.cell_bits - 1) * (2**self.input_bits - 1)

    def exact(self, inputs: Tensor) -> Tensor:
        """The product of integers, float64 [N, P], with activations `inputs`, int64 [K, P], at least 0."""
        return (self.codes * self.driven).double() @ inputs.double()

    def read(self, inputs: Tensor, adc: Adc) -> Tensor:
        """The same where each sum is what `adc` makes of it."""
        cell_bits = self.chip.crossbar.cell_bits
        weight = adc.step * 2.0 ** (torch.arange(self.slices, device=inputs.device) * cell_bits)
        if cell_bits == 1:
            weight[-1] *= -1
        found = -_offset(self.chip) * (self.driven.double() @ inputs.double())
        for significance, first, sums in self.sums(inputs):
            levels = adc(sums).sum(0).double()  # float32 holds the sum of levels of all reads
            read = (levels * (significance * weight)[:, None]).sum(1)
            found[first : first + len(read)] += read
        return found

    def sums(self, inputs: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """The sums of all columns, pulse by pulse and column block by column block.

        (2^lowest bit of the pulse, first output channel, float32 [reads, columns, S, P]); they are whole numbers.
        """
        inputs = pad(inputs.int(), (0, 0, 0, 1))  # row K: never driven
        for low in range(0, self.chip.precision.activation_bits, self.input_bits):
            pulse = ((inputs >> low) & (2**self.input_bits - 1)).float()
            first = 0
            for block in self.blocks:
                reads, columns = block.cells.shape[:2]
                if reads:
                    found = torch.bmm(block.cells.flatten(1, 2), pulse[block.rows])
                    yield 2**low, first, found.unflatten(1, (columns, self.slices))
                first += columns

    def seen(self, inputs: Tensor) -> Floats:
        """[S, M + 1]: of each slice, how often its columns come to 0 … M, each as the square of its pulse counts."""
        found = np.zeros((self.slices, self.largest_sum + 1))
        for significance, _, sums in self.sums(inputs):
            for s, column in enumerate(found):
                counts = torch.bincount(sums[:, :, s].flatten().long(), minlength=len(column))
                column += float(significance) ** 2 * counts.cpu().numpy()
        return found


def _offset(chip: Chip) -> int:
    return 0 if chip.crossbar.cell_bits == 1 else 2 ** (chip.precision.weight_bits - 1)


def _reads(layer: Layer, chip: Chip, kept: NDArray[np.bool_]) -> Ints:
    """The rows [reads, r] driven together in a column block, K where there are fewer; `kept` is bool [I, rows]."""
    at_once = chip.compute.rows_per_read if chip.compute else chip.crossbar.rows
    rows, per_block = layer.in_channels * layer.taps, layer.row_channels * layer.taps
    found = []
    for i, block in enumerate(kept):
        for top in range(0, len(block), chip.crossbar.rows):
            driven = i * per_block + top + np.flatnonzero(block[top : top + chip.crossbar.rows])
            found += [driven[k : k + at_once] for k in range(0, len(driven), at_once)]
    reads = np.full((len(found), max(map(len, found), default=0)), rows, np.int64)
    for read, driven in zip(reads, found, strict=True):
        read[: len(driven)] = driven
    return reads
