"""The chip's floor plan as SVG: tiles coloured by layer and filled as they are used, links as wide as their flits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from cannon_fx.report.numbers import percent

PITCH = 72.0  # from tile to tile, in SVG units
SIDE = 46.0  # of a tile; the rest of the pitch is left to the links
MARGIN = 18.0
WIDEST = 9.0  # the width of the link with the most flits
THINNEST = 1.2  # of a link that carries any
COLOURS = 8  # the palette is in figures.css.j2 (classes c0 to c7); the layer's number tells repeats apart
HEATS = 5  # classes h1 to h5
Link = tuple[float, float, float, float]
"""x and y where it begins, and where it ends; tiles stand at whole numbers."""


def of_method(record: Mapping[str, Any], method: str) -> Mapping[str, Any]:
    """Where a method's network stands: each is mapped for itself. Older records have one floor plan for all."""
    found: Mapping[str, Any] = record["methods"][method].get("floor_plan") or record["floor_plan"]
    return found


def layer_numbers(layers: Iterable[str], tiles: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """1, 2, … for every layer: first those of `layers`, then any others that hold tiles."""
    names = dict.fromkeys([*layers, *(tile["layer"] for tile in tiles)])
    return {name: number for number, name in enumerate(names, start=1)}


def colour_class(number: int) -> str:
    """The CSS class with the colour of layer `number`."""
    return f"c{(number - 1) % COLOURS}"


def most_flits(*methods: Sequence[Mapping[str, Any]]) -> int:
    """The flits of the busiest link over all these lists of links: the one scale that all plans share."""
    return max((link["flits"] for links in methods for link in links), default=0)


def link_width(flits: float, most: float) -> float:
    """Proportional to flits, but never too thin to see."""
    return max(THINNEST, WIDEST * flits / most)


def heat_class(flits: float, most: float) -> str:
    """The CSS class of this load's colour: h5 above half of `most`, h4 above a quarter, …

    Halving, not equal steps: a few links carry most of the flits, and the others should not look alike.
    """
    return f"h{max(1, HEATS - int(math.log2(most / flits)))}"


def floor_plan_svg(
    floor_plan: Mapping[str, Any], method: Mapping[str, Any], numbers: Mapping[str, int], most: int, label: str
) -> str:
    """One chip with the links of one method. `numbers` from `layer_numbers`, `most` from `most_flits`.

    `data-at` names a tile by its place, and a link by those at its ends: highlight.js.j2 goes by it.
    """
    loads: dict[Link, Mapping[str, Any]] = {(*load["from"], *load["to"]): load for load in method["links"]}
    links = [tuple(link) for link in floor_plan["links"]]
    columns, rows = int(floor_plan["columns"]), int(floor_plan["rows"])
    right = max([columns - 1.0, *(max(x0, x1) for x0, _, x1, _ in links)])  # routers of a tree stand below its tiles
    bottom = max([rows - 1.0, *(max(y0, y1) for _, y0, _, y1 in links)])
    width, height = (2 * MARGIN + SIDE + PITCH * last for last in (right, bottom))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chip" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}" data-columns="{columns}" data-rows="{rows}" '
        f'style="min-width:{min(columns, 40) * 2.2:g}rem">'
    ]
    idle = "".join(_idle(link) for link in links if link not in loads)
    parts.append(f'<path class="idle" d="{idle}"/>')
    parts += [_link(link, loads[link], most) for link in sorted(loads, key=lambda link: (loads[link]["flits"], link))]
    held = {(tile["x"], tile["y"]): tile for tile in floor_plan["tiles"]}
    layers = {layer["name"]: layer for layer in method["layers"]}
    for y in range(rows):
        for x in range(columns):
            parts.append(_tile(x, y, held.get((x, y)), numbers, layers))
    if floor_plan.get("port") is not None:
        parts.append(_port(*floor_plan["port"]))
    parts.append("</svg>")
    return "".join(parts)


def scale_svg(most: int) -> str:
    """The legend of the link widths and colours, up to `most`."""
    loads = sorted({max(1, round(most / 2**step)) for step in range(HEATS)})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="scale" viewBox="0 0 {84 * len(loads)} 34" '
        f'role="img" aria-label="Scale of the links, up to {most:,} flits">'
    ]
    for step, load in enumerate(loads):
        x = 84.0 * step + 16
        shape = _harpoon(x, 6, (1.0, 0.0), 52, link_width(load, most))
        parts.append(f'<polygon class="{heat_class(load, most)}" points="{shape}"/>')
        parts.append(f'<text x="{x + 26:g}" y="30">{load:,}</text>')
    return "".join([*parts, "</svg>"])


def _corner(at: float) -> float:
    return MARGIN + PITCH * at


def _way(link: Link) -> tuple[float, float, tuple[float, float], float]:
    """Where a link is drawn from, its direction, and how far.

    Between neighbours from side to side; else from centre to centre, under the tiles that are drawn later.
    """
    x0, y0, x1, y1 = link
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    along = ((x1 - x0) / length, (y1 - y0) / length)
    aside = SIDE / 2 if length == 1 else 0.0
    x, y = (_corner(at) + SIDE / 2 + way * aside for at, way in zip((x0, y0), along, strict=True))
    return x, y, along, PITCH * length - 2 * aside


def _idle(link: Link) -> str:
    """A hairline where no flit passes, to the right of its direction as the others are."""
    x, y, along, length = _way(link)
    return f"M{x - 1.5 * along[1]:g} {y + 1.5 * along[0]:g}l{along[0] * length:g} {along[1] * length:g}"


def _link(link: Link, load: Mapping[str, Any], most: float) -> str:
    x0, y0, x1, y1 = (f"{at:g}" for at in link)
    flits = load["flits"]
    points = _harpoon(*_way(link), link_width(flits, most))
    numbers = [load["transfers"], *(number for transfer in load["largest"] for number in transfer)]
    return (
        f'<polygon class="link {heat_class(flits, most)}" data-at="{x0},{y0}-{x1},{y1}" data-flits="{flits}" '
        f'data-transfers="{" ".join(map(str, numbers))}" points="{points}">'
        f"<title>({x0}, {y0}) → ({x1}, {y1}): {flits:,} flits</title></polygon>"
    )


def _harpoon(x: float, y: float, along: tuple[float, float], length: float, width: float) -> str:
    """Half an arrow from (x, y), to the right of its direction, so that the two links of a pair lie apart."""
    gap, head, barb = 1.2, 6.0, 3.0
    right = (-along[1], along[0])  # y points down
    shape = [
        (1, gap),
        (length - 1, gap),
        (length - 1 - head, gap + width + barb),
        (length - 1 - head, gap + width),
        (1, gap + width),
    ]
    points = [(x + a * along[0] + b * right[0], y + a * along[1] + b * right[1]) for a, b in shape]
    return " ".join(f"{px:.5g},{py:.5g}" for px, py in points)


def _tile(
    x: int,
    y: int,
    tile: Mapping[str, Any] | None,
    numbers: Mapping[str, int],
    layers: Mapping[str, Mapping[str, Any]],
) -> str:
    """A square, its upper part paler by the share of the cells that hold no weight which is kept."""
    left, top = _corner(x), _corner(y)
    square = f'<rect x="{left:g}" y="{top:g}" width="{SIDE:g}" height="{SIDE:g}" rx="5"/>'
    if tile is None:
        return f'<g class="tile empty" data-at="{x},{y}">{square}<title>tile at ({x}, {y}): empty</title></g>'
    number = numbers[tile["layer"]]
    i, j = tile["row_block"], tile["column_block"]
    title = f"tile {tile['tile']} at ({x}, {y}): {tile['layer']}, row block {i}, column block {j}"
    used = tile_utilisation(layers, tile)
    spare = ""
    if used is not None:
        title += f", {percent(used)} % of its cells in use"
        spare = (
            f'<rect class="spare" x="{left:g}" y="{top:g}" width="{SIDE:g}" height="{SIDE * (1 - used):.3g}" rx="5"/>'
        )
    middle = left + SIDE / 2
    return (
        f'<g class="tile {colour_class(number)}" data-at="{x},{y}" data-tile="{tile["tile"]}" data-layer="{number}">'
        f'{square}{spare}<text class="number" x="{middle:g}" y="{top + 21:g}">{number}</text>'
        f'<text class="block" x="{middle:g}" y="{top + 37:g}">{i},{j}</text><title>{escape(title)}</title></g>'
    )


def tile_utilisation(layers: Mapping[str, Mapping[str, Any]], tile: Mapping[str, Any]) -> float | None:
    """The share of a tile's cells that hold a kept weight; None for a method that has no such tile."""
    blocks = layers.get(tile["layer"], {}).get("tile_utilisation", [])
    i, j = tile["row_block"], tile["column_block"]
    return float(blocks[i][j]) if i < len(blocks) and j < len(blocks[i]) else None


def _port(x: float, y: float) -> str:
    left, top = _corner(x), _corner(y)
    return (
        f'<g class="port">'
        f'<rect x="{left - 3.5:g}" y="{top - 3.5:g}" width="{SIDE + 7:g}" height="{SIDE + 7:g}" rx="8"/>'
        f'<rect class="badge" x="{left - 14:g}" y="{top - 15:g}" width="30" height="17" rx="4"/>'
        f'<text x="{left + 1:g}" y="{top - 2.5:g}">I/O</text><title>I/O port at ({x:g}, {y:g})</title></g>'
    )
