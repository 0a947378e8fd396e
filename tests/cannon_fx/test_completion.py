"""Shell completion, as docs/command_line.md has it set up."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "cannon opt": ["optimize"],
    "cannon optimize --base": ["--base-weights"],
    "cannon map --order sn": ["snake"],
    "cannon simulate --topology ": ["chiplets", "cmesh", "mesh", "ring", "torus", "tree"],
}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "cannon"
    words = [sys.executable, "-m", "cannon_fx.cli", "--tyro-print-completion", "bash"]
    path.write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("typed", CASES)
def test_bash_completes(typed: str, script: Path) -> None:
    words = shlex.split(typed) + [""] * typed.endswith(" ")
    code = (
        f"source {shlex.quote(str(script))}; COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
        f"COMP_CWORD={len(words) - 1}; $(complete -p cannon | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(done.stdout.split()) - {"None"}) == CASES[typed]  # tyro also offers the default
