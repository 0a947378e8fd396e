"""The page of a large network stays small enough to send around."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "report_page.py"


@pytest.mark.slow
def test_resnet50_takes_less_than_3_mb(tmp_path: Path) -> None:
    subprocess.run([sys.executable, BENCHMARK, "--json", tmp_path / "size.json"], check=True)
    assert json.loads((tmp_path / "size.json").read_text())["page_mb"] < 3
