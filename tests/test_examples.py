"""The examples run as they stand and do what their first line says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder: Path, *words: str) -> tuple[float, float]:
    """What an example prints: accuracy in percent, and how many times less energy."""
    code = "from cannon_fx.zoo.torchvision_ops import import_torchvision as i; i()\n"  # timm wants it, fitting or not
    code += "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, check=True)
    found = re.fullmatch(r"accuracy ([\d.]+)%, ([\d.]+)x less communication energy\n", done.stdout)
    assert found, done.stdout
    return float(found[1]), float(found[2])


def test_own_loop(tmp_path: Path) -> None:
    accuracy, less = run(tmp_path, str(EXAMPLES / "own_loop.py"))
    assert accuracy > 85
    assert less >= 2


def test_timm_finetune(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    accuracy, less = run(tmp_path, str(EXAMPLES / "timm_finetune.py"), "test_resnet.r160_in1k", "--random")
    assert accuracy > 85
    assert less >= 1.5
