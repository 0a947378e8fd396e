"""Makes this folder's modules importable, since pytest's importlib mode leaves sys.path alone; runs the command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cannon_fx.cli import main

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def cannon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs `cannon …` in an empty folder and returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["cannon", *words])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run
