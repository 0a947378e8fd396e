"""The connections that are left, layer by layer, as SVG: a row per column block, a column per channel group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from cannon_fx.report.figures import Figure

WIDE = 720.0  # SVG units
CELL = 4.0  # a connection's side, smaller where a layer has more groups than fit
LABEL, GAP = 16.0, 14.0
LETTER = 6.2  # about the width of one at 11 units, for the room that a name takes


def mask_figure(layers: Sequence[Mapping[str, Any]], numbers: Mapping[str, int]) -> Figure:
    """All masks, beside and below each other like words on a page."""
    parts: list[str] = []
    x = y = lowest = 0.0
    for layer in layers:
        rows = mask(layer)
        groups = len(rows[0])
        cell = min(CELL, WIDE / groups)
        title = f"{numbers[layer['name']]} {layer['name']}"
        width = min(WIDE, max(groups * cell, LETTER * len(title)))
        if x > 0 and x + width > WIDE:
            x, y = 0.0, lowest + GAP
        parts.append(
            f'<g class="mask" transform="translate({x:g} {y:g})"><text y="11">{escape(title)}</text>'
            f'<g transform="translate(0 {LABEL:g}) scale({cell:.5g} {CELL:g})">'
            f'<rect class="cut" width="{groups}" height="{len(rows)}"/><path class="kept" d="{_path(rows)}"/></g>'
            f"<title>{escape(layer['name'])}: {layer['kept']:,} of {layer['connections']:,} connections kept, "
            f"{len(rows):,} column blocks x {groups:,} channel groups</title></g>"
        )
        lowest = max(lowest, y + LABEL + CELL * len(rows))
        x += width + GAP
    label = "Connections that are left, by layer"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="masks" viewBox="0 0 {WIDE:g} {lowest + 2:g}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )
    return Figure("connections", label, svg)


def mask(layer: Mapping[str, Any]) -> list[str]:
    """Per column block a string of '1' and '0', one for each channel group. `keep` is packed bits in hexadecimal."""
    blocks = layer.get("mask_rows") or layer["column_blocks"]
    groups = layer["connections"] // blocks
    bits = "".join(f"{byte:08b}" for byte in bytes.fromhex(layer["keep"]))
    return [bits[j * groups : (j + 1) * groups] for j in range(blocks)]


def _path(rows: Sequence[str]) -> str:
    """One rectangle per run of kept connections."""
    found = []
    for y, row in enumerate(rows):
        x = 0
        for bit, run in groupby(row):
            length = len(list(run))
            if bit == "1":
                found.append(f"M{x} {y}h{length}v1h-{length}z")
            x += length
    return "".join(found)
