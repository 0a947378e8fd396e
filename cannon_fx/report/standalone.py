"""Figures as files of their own: SVG with the page's light colours inside, and PNG."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from cannon_fx.report.html import render_template

PNG_WIDTH = 2000  # pixels: 300 dpi on a page's width


def svg_file(svg: str) -> str:
    """An inline figure of the page as an SVG document that needs no page."""
    colours = light_colours()

    def resolved(text: str) -> str:
        text = re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], text)
        return text.replace("currentColor", colours["ink"])

    # Only inside tags: what stands between them are the names of the user's layers.
    svg = re.sub(r"<[^>]*>", lambda tag: resolved(tag[0]), svg)
    style = f"<style>{resolved(render_template('figures.css.j2'))}</style>"
    box = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', svg)
    assert box is not None, "every figure has a viewBox"
    opening, _, rest = svg.partition(">")
    return f'{opening} width="{box[1]}" height="{box[2]}">{style}{rest}\n'


@cache
def light_colours() -> dict[str, str]:
    """The theme's variables as they are in a light page."""
    light = render_template("theme.css.j2").partition("@media")[0]
    return dict(re.findall(r"--([\w-]+): ([^;]+);", light.replace('"', "'")))  # they go into attributes too


def png_file(svg: str) -> bytes:
    """`svg_file`'s document on white. The letters are matplotlib's, whatever the machine has."""
    import matplotlib
    import resvg_py

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return resvg_py.svg_to_bytes(
        svg_string=svg,
        background="white",
        width=PNG_WIDTH,
        skip_system_fonts=True,
        font_files=[str(fonts / name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")],
        font_family="DejaVu Sans",
        sans_serif_family="DejaVu Sans",
    )
