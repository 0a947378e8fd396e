"""The shape of one layer, as the layer tables of other tools have it, and how their rows are read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ChipError

MOST = 1_000_000_000


@dataclass(frozen=True)
class LayerShape:
    """A convolution over `height` x `width` x `in_channels`; a linear layer has height, width and kernel 1.

    `pool`: 2x2 pooling follows. `sparsity` is 0 where the table has none. `name` is empty where it has none.
    """

    height: int
    width: int
    in_channels: int
    kernel_height: int
    kernel_width: int
    out_channels: int
    pool: bool = False
    stride: int = 1
    sparsity: float = 0.0
    name: str = ""


def table_rows(text: str, origin: str) -> Iterator[tuple[str, list[str]]]:
    """(where, cells) of every line of a CSV that is not empty; a comma at the end of a line counts for nothing.

    Raises ChipError for text that is no CSV.
    """
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text)), 1):
            stripped = [cell.strip() for cell in cells]
            while stripped and not stripped[-1]:
                stripped.pop()
            if stripped:
                yield f"{origin}, line {number}", stripped
    except csv.Error as error:
        raise ChipError(f"{origin} is no table: {error}. Give a CSV file.") from error


def whole(where: str, name: str, cell: str, least: int = 1) -> int:
    """A whole number from a cell; ChipError says where it should have been. `3.0` counts, as spreadsheets write it."""
    try:
        number = float(cell)
    except ValueError:
        number = -1.0
    if not (least <= number <= MOST and number == int(number)):
        raise ChipError(f"{where}: {name} is {cell!r}, which is no whole number from {least} on. Correct the cell.")
    return int(number)


def checked(layers: list[LayerShape], origin: str) -> list[LayerShape]:
    """`layers`, if there are any and each is of a size that can be."""
    if not layers:
        raise ChipError(f"{origin} holds no layers. Give one row per layer.")
    for number, layer in enumerate(layers, 1):
        values = layer.height * layer.width * max(layer.in_channels, layer.out_channels)
        weights = layer.kernel_height * layer.kernel_width * layer.in_channels * layer.out_channels
        if max(values, weights) > MOST:
            raise ChipError(
                f"{origin}, layer {number}: {values:,} activations and {weights:,} weights; at most {MOST:,} of each "
                "can be mapped. Correct the row."
            )
    return layers
