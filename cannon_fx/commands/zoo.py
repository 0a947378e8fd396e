"""`cannon zoo`: check that models which others wrote compile and stay what they are."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cannon_fx.commands import check_folder

LINE = "{mark} {name:76.76} {layers:>4} layers {unmapped:>4} not mapped {tiles:>6} tiles {seconds:>7} s  {error}\n"


@dataclass(frozen=True)
class Zoo:
    """Check models of other people: same outputs, loss and gradients, every layer mapped or listed with a reason."""

    list: tuple[str, ...] = ("torchvision", "timm", "transformers")
    """lists that come with cannon_fx, or files of lines such as `torchvision.models:resnet18 float[2,3,64,64]`"""
    json: Path | None = None
    """a file for the rows; a model whose row is there already is not checked again"""
    chip: str = "siam-32nm"
    """a chip that comes with cannon_fx, or the path of a .toml file"""
    timeout: float = 900.0
    """seconds for one model"""
    retry: bool = False
    """check the models again that failed"""

    def run(self) -> None:
        """Prints a line when a model is checked. Raises RunError for a bad list, and when a model failed."""
        from cannon_fx.errors import RunError
        from cannon_fx.hw.chip import Chip
        from cannon_fx.zoo.lists import entries_of
        from cannon_fx.zoo.run import run_list

        Chip.load(self.chip)
        if not self.timeout > 0:
            raise RunError(f"--timeout is {self.timeout}: give a positive number of seconds.")
        check_folder("json", self.json)
        entries = [entry for name in self.list for entry in entries_of(name)]
        rows = run_list(entries, self.json, self.chip, self.timeout, show, self.retry)
        failed = [row for row in rows if not row["ok"]]
        sys.stdout.write(f"{len(rows) - len(failed)} of {len(rows)} models pass.\n")
        if failed:
            raise RunError(f"{len(failed)} models failed, the first of them {failed[0]['model']}.")


def show(row: dict[str, Any]) -> None:
    """Prints a row as a line."""
    line = LINE.format(
        mark="ok  " if row["ok"] else "FAIL",
        name=row["model"],
        layers=row.get("layers", "-"),
        unmapped=row.get("unmapped", "-"),
        tiles=row.get("tiles", "-"),
        seconds=row["seconds"] if row["seconds"] is not None else "-",
        error=row["error"] or "",
    )
    sys.stdout.write(line)
    sys.stdout.flush()
