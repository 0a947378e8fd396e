"""`NetWork.csv` of DNN+NeuroSim, SIAM and HISIM: a row per layer, no header, and two dialects of column 8.

Columns: input height, width, channels, kernel height, width, output channels, 1 if pooling follows; then NeuroSim has
the stride and SIAM and HISIM the layer's sparsity. Nothing in the file tells which, so the reader must be told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from ..errors import ChipError
from .layer_shape import LayerShape, checked, table_rows, whole

Dialect = Literal["neurosim", "siam"]

_SIZES = ("height", "width", "in_channels", "kernel_height", "kernel_width", "out_channels")


def from_network_csv(text: str, dialect: Dialect, origin: str = "NetWork.csv") -> list[LayerShape]:
    """The layers. In the dialect siam every stride is 1, column 8 may be absent, and a ninth (the chiplet's class) is
    dropped; its sparsity is given back as it stands, since files disagree on whether 1 means all or none.

    Raises ChipError with the line that is wrong.
    """
    _known(dialect)
    layers = []
    for where, cells in table_rows(text, origin):
        fits = len(cells) == 8 if dialect == "neurosim" else 7 <= len(cells) <= 9
        if not fits:
            raise ChipError(
                f"{where}: {len(cells)} columns, where a row of dialect {dialect} has "
                f"{'8' if dialect == 'neurosim' else '7 to 9'}: {', '.join(_SIZES)}, pool, "
                f"{'stride' if dialect == 'neurosim' else 'sparsity'}. Correct the row, or choose another dialect."
            )
        sizes: dict[str, Any] = {name: whole(where, name, cell) for name, cell in zip(_SIZES, cells, strict=False)}
        pool = whole(where, "pool", cells[6], 0)
        if pool > 1:
            raise ChipError(f"{where}: pool is {pool}; 0 and 1 say whether pooling follows.")
        if dialect == "neurosim":
            stride = whole(where, "stride (in dialect neurosim)", cells[7])
            layers.append(LayerShape(**sizes, pool=bool(pool), stride=stride))
        else:
            sparsity = _fraction(where, cells[7]) if len(cells) > 7 else 0.0
            layers.append(LayerShape(**sizes, pool=bool(pool), sparsity=sparsity))
    return checked(layers, origin)


def to_network_csv(layers: Sequence[LayerShape], dialect: Dialect) -> str:
    """The rows. Names are lost; in neurosim also the sparsity, in siam the stride."""
    _known(dialect)
    rows = []
    for layer in layers:
        sizes = [getattr(layer, name) for name in _SIZES]
        last = layer.stride if dialect == "neurosim" else f"{layer.sparsity:.12g}"
        rows.append(",".join(map(str, [*sizes, int(layer.pool), last])) + "\n")
    return "".join(rows)


def _known(dialect: str) -> None:
    if dialect not in get_args(Dialect):
        raise ChipError(f"unknown dialect {dialect!r} of NetWork.csv: choose one of {', '.join(get_args(Dialect))}.")


def _fraction(where: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ChipError(f"{where}: sparsity is {cell!r}, which is no number from 0 to 1. Correct the cell.")
    return value
