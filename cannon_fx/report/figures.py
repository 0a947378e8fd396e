"""Figures as inline SVG that follows the page's theme, and how matplotlib draws them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Matplotlib draws with these stand-ins; afterwards they become the page's own colours.
INK = "#010203"
SERIES = tuple(f"#0104{number:02x}" for number in range(8))
PARTS = tuple(f"#0105{number:02x}" for number in range(3))
THEME = {
    INK: "currentColor",
    **{stand_in: f"var(--series-{number})" for number, stand_in in enumerate(SERIES)},
    **{stand_in: f"var(--s{number})" for number, stand_in in enumerate(PARTS)},
}
UNITS = ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))
HEIGHT, WIDTH = 3.0, 4.8  # inches of 72 SVG units


@dataclass(frozen=True)
class Figure:
    """`name` is its file's, without the ending, and never a word of the record; `svg` takes its colours and font from
    the page."""

    name: str
    title: str
    svg: str


def draw(name: str, title: str, paint: Callable[[Axes], None], height: float = HEIGHT) -> Figure:
    """What `paint` draws on empty axes `height` inches high. Same input, same bytes."""
    import matplotlib  # here, because it is slow to import and most callers never draw
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    # The salt makes the ids repeatable, and different from those of the page's other figures.
    with matplotlib.rc_context(
        {"svg.hashsalt": f"cannon_fx {name}", "svg.fonttype": "none", "font.size": 10, "text.parse_math": False}
    ):
        canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(canvas)
        paint(canvas.add_subplot())
        return Figure(name, title, to_svg(canvas))


def series_number(method: str, methods: Sequence[str]) -> int:
    """The colour and dash of a method: 0 for dense, 1 for cannon, then the others in order."""
    fixed = {"dense": 0, "cannon": 1}
    others = [name for name in methods if name not in fixed]
    return fixed[method] if method in fixed else 2 + others.index(method) % (len(SERIES) - 2)


def energy_unit(largest: float) -> tuple[float, str]:
    """(pJ per unit, unit) that keeps the axis between 1 and 1000."""
    return next(((size, unit) for size, unit in UNITS if largest >= size), UNITS[-1])


def cycle_unit(largest: float) -> tuple[float, str]:
    """(cycles per unit, unit) that keeps the axis between 1 and 10,000."""
    units = ((1e6, "million cycles"), (1e3, "thousand cycles"))
    return next(((size, unit) for size, unit in units if largest >= 10 * size), (1.0, "cycles"))


def dress(axes: Axes, x_label: str, y_label: str, ncols: int = 4) -> None:
    """Labels, thin spines, a legend above in `ncols` columns."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, length=3, width=0.6)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=INK, linewidth=0.6)
    handles = axes.get_legend_handles_labels()[0]
    if handles:
        axes.figure.legend(
            loc="outside upper left", ncols=ncols, frameon=False, labelcolor=INK, handlelength=2.2,
            columnspacing=1.2, borderpad=0, borderaxespad=0,
        )  # fmt: skip


def to_svg(canvas: Canvas) -> str:
    """The figure in the page's colours and font."""
    out = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    canvas.savefig(out, format="svg", transparent=True, metadata=nothing)
    return follow_theme(out.getvalue())


def follow_theme(svg: str) -> str:
    """Cut what a page does not need, and put the page's colours and font in place of the stand-ins."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    # Ids that nothing refers to would only clash with those of the page's other figures.
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    for stand_in, colour in THEME.items():
        svg = svg.replace(stand_in, colour)
    return svg
