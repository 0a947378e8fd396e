"""`cannon` as a process of its own, for tests that interrupt it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`cannon …` in `folder`, on one thread, with pipes for what it prints."""
    return subprocess.Popen(
        [sys.executable, "-m", "cannon_fx.cli", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What a shell starts in the background ignores SIGINT, and so does all that is started from there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
