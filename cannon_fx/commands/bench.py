"""`cannon bench`: how fast the block-sparse kernels are on this machine, against torch's dense ops."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from cannon_fx.commands import check_folder, say


@dataclass(frozen=True)
class Bench:
    """Time the block-sparse kernels on layers of real networks. Every result is checked before it is timed."""

    what: tyro.conf.Positional[Literal["kernels"]]
    """what to time"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where to"""
    quick: bool = False
    """a dozen cells, about a minute; otherwise all of them, some minutes"""
    json: Path | None = None
    """a file for the rows, with versions of what was measured"""
    seconds: float = 0.5
    """of timing for each number"""

    def run(self) -> None:
        """Prints a row when it is measured, writes the file at the end. Raises RunError."""
        import torch

        from cannon_fx.atomic import atomic_write_text
        from cannon_fx.errors import RunError
        from cannon_fx.kernel_bench import WrongResult, all_cells, measure, quick_cells

        if self.device == "cuda" and not torch.cuda.is_available():
            raise RunError("torch finds no CUDA device. Time the CPU's kernels with --device cpu.")
        check_folder("json", self.json)
        device = torch.device(self.device)
        rows, wrong = [], []
        sys.stdout.write(HEAD)
        for cell in quick_cells() if self.quick else all_cells():
            try:
                for row in measure(cell, device, self.seconds):
                    rows.append(row)
                    sys.stdout.write(LINE.format(**row))
                    sys.stdout.flush()
            except WrongResult as error:
                wrong.append(str(error))
                say(str(error))
        if self.json is not None:
            versions = {
                "torch": torch.__version__,
                "mkl": torch.backends.mkl.is_available(),
                "cuda": torch.version.cuda,
            }
            result = {"schema": 1, "versions": versions, "timing": TIMING, "rows": rows, "wrong": wrong}
            atomic_write_text(self.json, json.dumps(result, indent=1) + "\n")
        if wrong:
            raise RunError(f"{len(wrong)} cells gave wrong results and were not timed; please report them.")


TIMING = (
    "medians over batches of calls of one method back to back, batches of both methods in turn; alternating_…: over "
    "single calls in turn, each of which finds in the caches what the other method left"
)
LINE = (
    "{shape:32.32} {batch:5} {dtype:8} {density:7.2f} {block:>7} {storage:6} {pass:16} {baseline:20} "
    "{baseline_ms:9.3f} {ours_ms:9.3f} {speedup:6.2f}x "
    "{alternating_speedup:10.2f}x {gflops:8.0f}  {relative_error:.0e}\n"
)
HEAD = (
    f"{'layer':32} {'batch':>5} {'dtype':8} {'density':>7} {'block':>7} {'weight':6} {'pass':16} {'against':20} "
    f"{'ms':>9} {'ours, ms':>9} {'faster':>7} {'alternating':>11} {'GFLOP/s':>8}  error\n"
)
