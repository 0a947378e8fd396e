"""Tables as CSV, with every number as it is, and as LaTeX with booktabs, ready to print."""

from __future__ import annotations

import csv
import io

from cannon_fx.report.data_tables import Column, DataTable
from cannon_fx.report.numbers import NOTHING, TIMES, column, percent, percent_decimals

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", TIMES: r"$\times$", "·": r"$\cdot$", "\N{MINUS SIGN}": "$-$",
    NOTHING: "--", "µ": r"\textmu{}",
    **{digit: rf"\textsuperscript{{{plain}}}" for digit, plain in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)},
}  # fmt: skip


def csv_file(table: DataTable) -> str:
    """A header of keys, then a row per row; what is not known is left empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([each.key for each in table.columns])
    writer.writerows(zip(*(each.values for each in table.columns), strict=True))
    return out.getvalue()


def latex_file(table: DataTable) -> str:
    """A tabular for \\input; the document needs the packages booktabs and textcomp."""
    words = [all(isinstance(value, str) for value in each.values) for each in table.columns]
    rows = zip(*(_printed(each) for each in table.columns), strict=True)
    lines = [
        rf"\begin{{tabular}}{{{''.join('l' if word else 'r' for word in words)}}}",
        r"\toprule",
        " & ".join(escape(each.head) for each in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(map(escape, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _printed(of: Column) -> list[str]:
    numbers = [value for value in of.values if isinstance(value, int | float)]
    if of.head.endswith("%"):
        decimals = percent_decimals(numbers)
        return [percent(value, decimals) if isinstance(value, int | float) else NOTHING for value in of.values]
    texts = iter(column(numbers))
    return [value if isinstance(value, str) else NOTHING if value is None else next(texts) for value in of.values]


def escape(text: str) -> str:
    """Text as LaTeX prints it; a line break or another control character is a space."""
    return "".join(LATEX.get(letter, letter if letter.isprintable() else " ") for letter in text)
