"""Every piece of Python in docs/ runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PIECES = [
    pytest.param(piece, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, piece in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
]


@pytest.mark.parametrize("piece", PIECES)
def test_runs(piece: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(piece, {})
