"""`cannon report`: the page of a run once more, several runs beside each other, or a report's parts for a paper."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cannon_fx.commands import check_folder

if TYPE_CHECKING:
    from cannon_fx.report.comparison import RunResult


@dataclass(frozen=True)
class Report:
    """Make the page of a run again, or compare runs: what was done differently, and what came of it."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")]
    """folders that `cannon optimize` wrote; one is shown by itself, several are compared"""
    out: Path | None = None
    """the page's file (report.html in the run's folder; of several runs comparison.html here)"""
    figures: Path | None = None
    """a folder for every figure as SVG and PNG, and every table as CSV and LaTeX"""
    json: bool = False
    """print results and differences as JSON; a page is then made only with --out"""

    def run(self) -> None:
        """Writes, and says where. Raises RunError."""
        from cannon_fx.errors import RunError
        from cannon_fx.report.comparison import as_json, read_runs

        if not self.runs:
            raise RunError("no run was named: give the folder of one, e.g. runs/demo, or several to compare.")
        check_folder("out", self.out)
        runs = read_runs(self.runs)
        said = []
        if self.out or not self.json:
            page = self.out or (self.runs[0] / "report.html" if len(runs) == 1 else Path("comparison.html"))
            _write_page(runs, page)
            said.append(f"report: {page}")
        if self.figures:
            said.append(f"figures and tables: {len(_write_parts(runs, self.figures))} files in {self.figures}")
        sys.stdout.write(json.dumps(as_json(runs), indent=1) + "\n" if self.json else "\n".join(said) + "\n")


def _write_page(runs: list[RunResult], page: Path) -> None:
    from cannon_fx.atomic import atomic_write_text
    from cannon_fx.errors import RunError
    from cannon_fx.report.comparison_page import render_comparison
    from cannon_fx.report.html import render_html

    html = render_html(runs[0].record) if len(runs) == 1 else render_comparison(runs)
    try:
        atomic_write_text(page, html)
    except OSError as error:
        raise RunError(f"cannot write {str(page)!r}: {error.strerror}. Choose another with --out.") from error


def _write_parts(runs: list[RunResult], folder: Path) -> list[Path]:
    from cannon_fx.report.comparison_page import comparison_figures, comparison_tables
    from cannon_fx.report.data_tables import data_tables
    from cannon_fx.report.paper import write_paper
    from cannon_fx.report.pictures import figures_of

    if len(runs) > 1:
        return write_paper(comparison_figures(runs), comparison_tables(runs), folder)
    return write_paper(figures_of(runs[0].record), data_tables(runs[0].record), folder)
