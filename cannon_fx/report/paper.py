"""A report's figures and tables as files for a paper: SVG and PNG, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cannon_fx.atomic import atomic_write_bytes
from cannon_fx.errors import RunError
from cannon_fx.report.data_tables import DataTable
from cannon_fx.report.figures import Figure
from cannon_fx.report.standalone import png_file, svg_file
from cannon_fx.report.table_files import csv_file, latex_file


def write_paper(figures: Iterable[Figure], tables: Iterable[DataTable], folder: Path) -> list[Path]:
    """Write them into `folder` (made if missing; files of the same names are replaced) and return their paths.

    Raises RunError.
    """
    files: dict[str, bytes] = {}
    for figure in figures:
        svg = svg_file(figure.svg)
        files[f"{figure.name}.svg"] = svg.encode()
        files[f"{figure.name}.png"] = png_file(svg)
    for table in tables:
        files[f"{table.name}.csv"] = csv_file(table).encode()
        files[f"{table.name}.tex"] = latex_file(table).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            atomic_write_bytes(folder / name, content)
    except OSError as error:
        raise RunError(f"cannot write into {str(folder)!r}: {error.strerror}. Choose another folder.") from error
    return [folder / name for name in files]
