"""SCALE-Sim's topology CSV: a header, then a row per convolution with its name.

Columns: name, input height, width, filter height, width, channels, filters, stride, in newer files one each way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ChipError
from .layer_shape import LayerShape, checked, table_rows, whole

_HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
_SIZES = ("height", "width", "kernel_height", "kernel_width", "in_channels", "out_channels")


def from_scale_sim(text: str, origin: str = "topology.csv") -> list[LayerShape]:
    """The layers; the file knows no pooling and no sparsity. Raises ChipError with the line that is wrong."""
    layers = []
    rows = table_rows(text, origin)
    where, header = next(rows, (origin, []))
    if header and any(cell.isdigit() for cell in header[1:]):
        raise ChipError(f"{where}: the first row is SCALE-Sim's header, not a layer. Add {_HEADER!r}.")
    for where, cells in rows:
        if len(cells) not in (8, 9):
            raise ChipError(
                f"{where}: {len(cells)} columns, where SCALE-Sim has 8 or 9: a name, {', '.join(_SIZES)}, stride. "
                "Correct the row."
            )
        sizes: dict[str, Any] = {name: whole(where, name, cell) for name, cell in zip(_SIZES, cells[1:], strict=False)}
        strides = {whole(where, "stride", cell) for cell in cells[7:]}
        if len(strides) > 1:
            raise ChipError(f"{where}: strides {cells[7]} and {cells[8]} differ; only equal ones can be mapped.")
        if sizes["kernel_height"] > sizes["height"] or sizes["kernel_width"] > sizes["width"]:
            raise ChipError(f"{where}: the filter is larger than its input. Correct the row.")
        layers.append(LayerShape(**sizes, stride=strides.pop(), name=cells[0]))
    return checked(layers, origin)


def to_scale_sim(layers: Sequence[LayerShape]) -> str:
    """Header and rows. Pooling and sparsity are lost; a layer without a name is called after its number, from 1."""
    rows = [_HEADER]
    for number, layer in enumerate(layers, 1):
        name = layer.name.replace(",", ";") or f"layer{number}"
        rows.append(",".join(map(str, [name, *(getattr(layer, size) for size in _SIZES), layer.stride])) + ",")
    return "\n".join(rows) + "\n"
