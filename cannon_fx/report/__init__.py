"""The report of a run: report.json, metrics.csv and one self-contained report.html."""

from cannon_fx.report.html import render_html
from cannon_fx.report.write import write_report

__all__ = ["render_html", "write_report"]
