"""What computing costs inside the tiles: crossbars, input drivers, ADCs, shift-and-add, accumulation.

A second table, never mixed into the communication figures: it says what share communication has of the whole.

Conventions, per inference. A weight of b bits takes ceil(b / cell_bits) neighbouring cells of a row. Activations enter
bit-serially, in ceil(activation_bits / input_bits) pulses per position (output pixel). Only rows that carry a kept
weight are driven, at most `rows_per_read` in one read; a read costs the cells of these rows in all columns in use, and
one conversion of each such column, which is shifted and added to its sum. A crossbar without a kept weight is not read
at all. The sums of the other crossbars of an output, inside a tile and across the tiles of its column block, are added
up: one accumulation fewer than there are crossbars. Weights are not duplicated, so positions follow one another.
Buffers, buses, activation functions, pooling and leakage are not in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from .errors import ChipError

if TYPE_CHECKING:
    from .chip import Crossbar, Precision

Count = Annotated[int, Field(gt=0, le=1_000_000, strict=True)]
Positive = Annotated[float, Field(gt=0, le=1e9, strict=True, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, strict=True, allow_inf_nan=False)]
Resolution = Annotated[int, Field(gt=0, le=16, strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredAdc(_Section):
    """An ADC with published resolution, energy and time of one conversion."""

    model: Literal["constants"]
    bits: Resolution
    pj: NonNegative
    ns: Positive

    def conversion(self, rows: int) -> tuple[float, float]:
        """(pJ, ns) of one conversion."""
        return self.pj, self.ns


class ZigZagAdc(_Section):
    """ZigZag-IMC's formulae for SAR ADCs, fitted there to three 28 nm macros (zigzag/hardware/architecture/imc_array.py
    of 3d12a96): (100 fF x bits + 0.001 fF x 4^bits) x V^2 and bits x (0.00653 ns x rows + 0.640 ns)."""

    model: Literal["zigzag"]
    bits: Resolution
    vdd: Positive

    def conversion(self, rows: int) -> tuple[float, float]:
        """(pJ, ns) of one conversion on a bit line of `rows` cells."""
        return (0.1 * self.bits + 1e-6 * 4**self.bits) * self.vdd**2, self.bits * (0.00653 * rows + 0.640)


class Compute(_Section):
    """The `[compute]` section of a chip: one crossbar's circuits.

    `input_bits`: bits that one input pulse carries (the DAC's). `read_ns`: from the pulse to sampled columns.
    `overlapped`: reading, converting what the last read sampled, and shift-and-add form a pipeline; else the columns
    are converted before the next read.
    """

    input_bits: Count
    rows_per_read: Count
    columns_per_adc: Count
    read_ns: NonNegative
    read_pj_per_cell: NonNegative
    driver_pj_per_row: NonNegative
    shift_add_pj: NonNegative
    accumulate_pj: NonNegative
    overlapped: Annotated[bool, Field(strict=True)]
    adc: Annotated[MeasuredAdc | ZigZagAdc, Field(discriminator="model")]


@dataclass(frozen=True)
class ComputeCost:
    """Energy by component, pJ, and latency in cycles of the network's clock, of one layer and inference."""

    crossbar_pj: float
    driver_pj: float
    adc_pj: float
    shift_add_pj: float
    accumulate_pj: float
    latency_cycles: float

    @property
    def energy_pj(self) -> float:
        """All components together."""
        return sum(getattr(self, f.name) for f in fields(self) if f.name.endswith("_pj"))


def layer_cost(
    compute: Compute,
    crossbar: Crossbar,
    precision: Precision,
    clock_ghz: float,
    kept_rows: NDArray[np.bool_],
    columns: NDArray[np.int64],
    positions: int,
) -> ComputeCost:
    """The cost of one layer split over I x J tiles.

    `kept_rows` is bool [I, J, rows]: whether row r of tile (i, j) carries a kept weight; rows that a tile does not use
    are False. `columns` is int [J]: output channels of column block j. `positions`: outputs per output channel.
    Crossbars work at the same time, so latency is that of the slowest, and the levels of its adder tree take one cycle
    each. A layer without a kept weight costs nothing. Raises ChipError for shapes that do not match.
    """
    if kept_rows.dtype != np.bool_ or kept_rows.ndim != 3 or columns.shape != kept_rows.shape[1:2]:
        raise ChipError(
            f"kept_rows of {kept_rows.dtype} {kept_rows.shape} and columns of shape {columns.shape} do not describe "
            "one layer. Give bool [I, J, rows] and int [J]."
        )
    if (columns < 1).any() or positions < 1 or not (math.isfinite(clock_ghz) and clock_ghz > 0):
        raise ChipError(
            f"columns {columns.tolist()}, {positions} positions and a clock of {clock_ghz} GHz: each must be positive."
        )
    cells = math.ceil(precision.weight_bits / crossbar.cell_bits)
    weights_across = crossbar.columns // cells
    if weights_across < 1:
        raise ChipError(
            f"{crossbar.columns} columns of {crossbar.cell_bits} bit hold no weight of {precision.weight_bits} bits."
        )
    missing = -kept_rows.shape[2] % crossbar.rows
    padded = np.pad(kept_rows, ((0, 0), (0, 0), (0, missing)))
    rows = padded.reshape(*kept_rows.shape[:2], -1, crossbar.rows).sum(-1)  # driven rows, [I, J, crossbars down]
    stacked = (rows > 0).sum((0, 2))  # [J] crossbars that share an output
    if not stacked.any():
        return ComputeCost(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    pulses = positions * math.ceil(precision.activation_bits / compute.input_bits)
    reads = -(-rows // compute.rows_per_read)
    driven = rows.sum((0, 2))
    across = -(-columns // weights_across)
    conversions = pulses * cells * int((reads.sum((0, 2)) * columns).sum())
    adc_pj, adc_ns = compute.adc.conversion(crossbar.rows)
    converting_ns = adc_ns * np.minimum(compute.columns_per_adc, np.minimum(columns, weights_across) * cells)
    steps = pulses * reads.max((0, 2))
    if compute.overlapped:
        latency_ns = (steps + 2) * np.maximum(compute.read_ns, converting_ns)
    else:
        latency_ns = steps * (compute.read_ns + converting_ns)
    return ComputeCost(
        crossbar_pj=pulses * cells * int((driven * columns).sum()) * compute.read_pj_per_cell,
        driver_pj=pulses * int((driven * across).sum()) * compute.driver_pj_per_row,
        adc_pj=conversions * adc_pj,
        shift_add_pj=conversions * compute.shift_add_pj,
        accumulate_pj=positions * int((np.maximum(stacked - 1, 0) * columns).sum()) * compute.accumulate_pj,
        latency_cycles=float(latency_ns[stacked > 0].max()) * clock_ghz + math.ceil(math.log2(stacked.max())),
    )
