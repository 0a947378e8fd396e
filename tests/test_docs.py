"""The Python in docs/ runs, page by page from top to bottom, and prints what the page says.

A `text` block right below a piece of Python is what that piece prints; in a tutorial, a piece without one prints
nothing. A line that says "about" comes out of a training, whose roundings every CPU does differently: its numbers may
differ by 2 %.
"""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PIECE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
PAGES = {page: PIECE.findall(page.read_text("utf-8")) for page in sorted(DOCS.rglob("*.md"))}
NUMBER = re.compile(r"\d[\d,]*\.?\d*")


def check_line(printed: str, promised: str) -> None:
    if "about" not in promised:
        assert printed == promised
        return
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", promised)
    found, expected = ([float(n.replace(",", "")) for n in NUMBER.findall(line)] for line in (printed, promised))
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(DOCS))) for page, pieces in PAGES.items() if pieces]
)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code, promised in PAGES[page]:
        with redirect_stdout(StringIO()) as printed:
            exec(code, names)
        if promised or page.parent.name == "tutorials":
            for line, wanted in zip(printed.getvalue().splitlines(), promised.splitlines(), strict=True):
                check_line(line, wanted)
