"""`cannon optimize`: retrain a network until its communication fits a budget."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannon_fx.commands import command_line, say
from cannon_fx.commands.mapping import MappingOptions
from cannon_fx.commands.training import TrainingOptions, run_config
from cannon_fx.methods import Method

if TYPE_CHECKING:
    from cannon_fx.config import RunConfig


@dataclass(frozen=True)
class Optimize(TrainingOptions, MappingOptions):
    """Retrain a network until its communication fits a budget. Without arguments: the digits demo."""

    methods: tuple[Method, ...] | None = None
    """what to compare, each retrained for the same epochs (dense and cannon; for the demo all three)"""
    out: Path | None = None
    """folder for the results; must not exist (runs/ and the model's name; for the demo runs/demo)"""
    resume: bool = False
    """go on with the unfinished run in --out; give the same options again"""
    checkpoint_seconds: float = 60.0
    """between two checkpoints of an epoch; there is always one at its end"""

    def folder(self) -> Path:
        """Where the results go."""
        return self.out or Path("runs") / (self.model.replace(":", ".") if self.model else "demo")

    def config(self) -> RunConfig:
        """The run's configuration."""
        return run_config(
            self, self, self.methods or (("dense", "cost-blind", "cannon") if self.demo else ("dense", "cannon"))
        )

    def run(self) -> None:
        """Runs it, with the other processes if torchrun has started several; on Ctrl-C says how to go on."""
        from cannon_fx.train.ranks import joined

        with joined(self.device):
            self._run()

    def _run(self) -> None:
        from cannon_fx.checkpoint import CHECKPOINT, abandon, refuse
        from cannon_fx.errors import CannonError
        from cannon_fx.progress import Progress
        from cannon_fx.report import write_report
        from cannon_fx.run import Run
        from cannon_fx.train.ranks import first, rank

        command, out = command_line("--resume"), self.folder()
        if not self.resume and first(lambda: os.path.lexists(out)):
            refuse(out)
        run = Run(self.config(), command)
        if self.resume:
            run.resume(out)
        else:
            run.start(out)

        def finish(record: dict[str, Any]) -> None:
            write_report(record, out)
            (out / CHECKPOINT).unlink()

        try:
            with Progress(run) as progress:
                record = run.execute(out, progress, self.checkpoint_seconds)
            first(lambda: finish(record))
        except (KeyboardInterrupt, Exception) as stop:  # a user's network may raise anything
            interrupted = isinstance(stop, KeyboardInterrupt)
            if interrupted:
                why = "stopped."
            else:
                why = str(stop) if isinstance(stop, CannonError) else f"{type(stop).__name__}: {stop}."
            if rank() > 0:
                say(why)
            elif (out / CHECKPOINT).exists():
                say(f"{why} The last checkpoint is safe in {out}. Go on with:\n  {command} --resume")
            else:
                abandon(out)
                say(f"{why} Nothing was written.")
            sys.exit(130 if interrupted else 2)
        progress.finish(record, out)
