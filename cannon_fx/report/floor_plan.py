"""The chip's floor plan as inline SVG: tiles coloured by layer, and every link as wide as its flits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

PITCH = 72.0  # from tile to tile, in SVG units
SIDE = 46.0  # of a tile; the rest of the pitch is left to the links
MARGIN = 18.0
WIDEST = 9.0  # the width of the link with the most flits
THINNEST = 1.2  # of a link that carries any
COLOURS = 8  # the palette is in style.css.j2 (classes c0 to c7); the layer's number tells repeats apart
HEATS = 5  # classes h1 to h5; h0 is a link without flits
Link = tuple[tuple[int, int], tuple[int, int]]


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
    """Proportional to flits, but never too thin to see; without flits, a hairline that shows the mesh."""
    return max(THINNEST, WIDEST * flits / most) if flits > 0 and most > 0 else 0.5


def heat_class(flits: float, most: float) -> str:
    """The CSS class of this load's colour: h5 above half of `most`, h4 above a quarter, … and h0 for none.

    Halving, not equal steps: a few links carry most of the flits, and the others should not look alike.
    """
    if flits <= 0 or most <= 0:
        return "h0"
    return f"h{max(1, HEATS - int(math.log2(most / flits)))}"


def floor_plan_svg(
    floor_plan: Mapping[str, Any],
    links: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, int],
    most: int,
    label: str,
) -> str:
    """One chip with the links of one method. `numbers` from `layer_numbers`, `most` from `most_flits`."""
    columns, rows = int(floor_plan["columns"]), int(floor_plan["rows"])
    width, height = (2 * MARGIN + SIDE + PITCH * (n - 1) for n in (columns, rows))
    flits = {((a["from"][0], a["from"][1]), (a["to"][0], a["to"][1])): a["flits"] for a in links}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chip" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="{escape(label)}" style="min-width:{min(columns, 40) * 2.2:g}rem">'
    ]
    neighbours = mesh_links(columns, rows)
    for load, link in sorted((flits.get(link, 0), link) for link in neighbours):  # the busiest on top
        parts.append(_link(link, load, most))
    held = {(tile["x"], tile["y"]): tile for tile in floor_plan["tiles"]}
    for y in range(rows):
        for x in range(columns):
            parts.append(_tile(x, y, held.get((x, y)), numbers))
    if floor_plan.get("port") is not None:
        parts.append(_port(*floor_plan["port"]))
    parts.append("</svg>")
    return "".join(parts)


def mesh_links(columns: int, rows: int) -> list[Link]:
    """Both directed links between each two neighbouring routers of the mesh."""
    east = [((x, y), (x + 1, y)) for y in range(rows) for x in range(columns - 1)]
    south = [((x, y), (x, y + 1)) for y in range(rows - 1) for x in range(columns)]
    return [link for a, b in east + south for link in ((a, b), (b, a))]


def not_drawn(floor_plan: Mapping[str, Any], links: Sequence[Mapping[str, Any]]) -> int:
    """How many links do not join neighbours on the mesh (a torus has such); the caption says it."""
    neighbours = set(mesh_links(int(floor_plan["columns"]), int(floor_plan["rows"])))
    return sum((tuple(link["from"]), tuple(link["to"])) not in neighbours for link in links)


def scale_svg(most: int) -> str:
    """The legend of the link widths and colours, from no flits to `most`."""
    loads = sorted({0, *(max(1, round(most / 2**step)) for step in range(HEATS))})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="scale" viewBox="0 0 {84 * len(loads)} 34" '
        f'role="img" aria-label="Scale of the links, from 0 to {most:,} flits">'
    ]
    for step, load in enumerate(loads):
        x = 84.0 * step + 16
        shape = _harpoon(x, 6, (1, 0), 52, link_width(load, most))
        parts.append(f'<polygon class="{heat_class(load, most)}" points="{shape}"/>')
        parts.append(f'<text x="{x + 26:g}" y="30">{load:,}</text>')
    return "".join([*parts, "</svg>"])


def _corner(at: int) -> float:
    return MARGIN + PITCH * at


def _link(link: Link, flits: float, most: float) -> str:
    (x0, y0), (x1, y1) = link
    along = (x1 - x0, y1 - y0)
    centre = SIDE / 2
    start_x = _corner(x0) + centre + along[0] * centre
    start_y = _corner(y0) + centre + along[1] * centre
    points = _harpoon(start_x, start_y, along, PITCH - SIDE, link_width(flits, most))
    title = f"({x0}, {y0}) → ({x1}, {y1}): {flits:,} flits"
    return (
        f'<polygon class="link {heat_class(flits, most)}" data-flits="{flits}" points="{points}">'
        f"<title>{title}</title></polygon>"
    )


def _harpoon(x: float, y: float, along: tuple[int, int], length: float, width: float) -> str:
    """Half an arrow from (x, y), to the right of its direction, so that the two links of a pair lie apart."""
    gap, head, barb = 1.2, 6.0, 3.0
    right = (-along[1], along[0])  # y points down
    if width < THINNEST:  # a link without flits is a plain line
        head = barb = 0.0
    shape = [
        (1, gap),
        (length - 1, gap),
        (length - 1 - head, gap + width + barb),
        (length - 1 - head, gap + width),
        (1, gap + width),
    ]
    points = [(x + a * along[0] + b * right[0], y + a * along[1] + b * right[1]) for a, b in shape]
    return " ".join(f"{px:.5g},{py:.5g}" for px, py in points)


def _tile(x: int, y: int, tile: Mapping[str, Any] | None, numbers: Mapping[str, int]) -> str:
    left, top = _corner(x), _corner(y)
    square = f'<rect x="{left:g}" y="{top:g}" width="{SIDE:g}" height="{SIDE:g}" rx="5"'
    if tile is None:
        return f'<g class="tile empty">{square}/><title>tile at ({x}, {y}): empty</title></g>'
    number = numbers[tile["layer"]]
    block = f"{tile['row_block']},{tile['column_block']}"
    title = (
        f"tile {tile['tile']} at ({x}, {y}): {tile['layer']}, "
        f"row block {tile['row_block']}, column block {tile['column_block']}"
    )
    middle = left + SIDE / 2
    return (
        f'<g class="tile {colour_class(number)}" data-tile="{tile["tile"]}" data-layer="{number}">{square}/>'
        f'<text class="number" x="{middle:g}" y="{top + 21:g}">{number}</text>'
        f'<text class="block" x="{middle:g}" y="{top + 37:g}">{block}</text>'
        f"<title>{escape(title)}</title></g>"
    )


def _port(x: int, y: int) -> str:
    left, top = _corner(x), _corner(y)
    return (
        f'<g class="port">'
        f'<rect x="{left - 3.5:g}" y="{top - 3.5:g}" width="{SIDE + 7:g}" height="{SIDE + 7:g}" rx="8"/>'
        f'<rect class="badge" x="{left - 14:g}" y="{top - 15:g}" width="30" height="17" rx="4"/>'
        f'<text x="{left + 1:g}" y="{top - 2.5:g}">I/O</text><title>I/O port at ({x}, {y})</title></g>'
    )
