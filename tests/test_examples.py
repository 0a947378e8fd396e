"""The examples run as they stand and do what their first line says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_own_loop(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "examples" / "own_loop.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = re.fullmatch(r"accuracy ([\d.]+)%, ([\d.]+)x less communication energy\n", done.stdout)
    assert found, done.stdout
    assert float(found[1]) > 85
    assert float(found[2]) >= 2
