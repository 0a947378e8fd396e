"""`cannon sweep`: what a network costs on many chips, with other constants, or retrained to many budgets."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from cannon_fx.commands import check_folder, say
from cannon_fx.commands.mapping import NetworkOptions
from cannon_fx.commands.training import TrainingOptions, run_config

if TYPE_CHECKING:
    from cannon_fx.sweep.points import Against, Row
    from cannon_fx.train.training import Epoch


@dataclass(frozen=True)
class Sweep(NetworkOptions):
    """Find out what a network costs on many chips. Constants of the energy formula need no mapping and are instant.

    With --study the network is retrained at every point. Call it again to go on where it was stopped. Called several
    times at once, also on machines that share the folder, the calls share the work; a killed one loses nothing.
    """

    vary: tuple[str, ...] = ()
    """NAME=VALUES, also several, all combined. VALUES: a,b,c or first:last:count or first:last:count:log. NAME: chip; a
    key of the chip's file, e.g. noc.flit_bits; or a constant of the energy formula: router_pj_per_flit,
    link_pj_per_bit_mm, crossing_pj_per_bit, link_mm, flit_bits, batch (then only the energy is known). With --study:
    budget, chip, seed"""
    study: Path | None = None
    """a folder, to retrain at every point"""
    csv: Path | None = None
    """a file for all rows"""
    plot: Path | None = None
    """an .svg, .png or .pdf file for energy against latency, with --study against accuracy, with the Pareto front"""
    json: bool = False
    """print the rows as JSON instead of a table"""
    training: tyro.conf.OmitArgPrefixes[TrainingOptions] = field(default_factory=TrainingOptions)

    def run(self) -> None:
        """Prints the cheapest points and writes the files. Raises CannonError, ChipError."""
        from cannon_fx.errors import RunError

        if not self.vary:
            raise RunError("nothing is varied: give --vary NAME=VALUES, e.g. --vary noc.flit_bits=16,32,64.")
        self._check_files()
        if self.study is not None:
            self._retrain(self.study)
        elif self.training != TrainingOptions():
            raise RunError("nothing is retrained without --study FOLDER: give it, or leave out the training options.")
        else:
            self._map()

    def _map(self) -> None:
        from cannon_fx.capture import capture
        from cannon_fx.errors import RunError
        from cannon_fx.hw.chip import Chip
        from cannon_fx.sweep.axes import Axis, check_axes
        from cannon_fx.sweep.points import rows_of

        mapping = self.mapping()
        chip = Chip.load(mapping.pop("chip"))
        axes = [Axis.parse(wish, chip) for wish in self.vary]
        check_axes(axes)
        constants = [axis.name for axis in axes if axis.in_formula]
        if self.plot and constants:
            raise RunError(
                f"--plot shows energy against latency, but varying {constants[0]} says nothing of latency. Vary keys "
                "of the chip's file instead, or leave --plot out."
            )
        model, sample = self.network()
        options = mapping | {"targets": mapping["targets"] or None}
        rows = list(rows_of(model, capture(model, sample), chip, axes, **options))
        self._show(rows, [axis.name for axis in axes], "latency_cycles")

    def _retrain(self, folder: Path) -> None:
        from cannon_fx.errors import CannonError, RunError
        from cannon_fx.hw.errors import ChipError
        from cannon_fx.sweep.axes import check_axes
        from cannon_fx.sweep.retraining import Retraining, retraining_axis

        if self.input_shape:
            raise RunError("--input-shape is not enough to retrain with: leave it out and give --data.")
        axes = tuple(map(retraining_axis, self.vary))
        check_axes(axes)
        command = shlex.join(["cannon", *sys.argv[1:]])
        retraining = Retraining(run_config(self, self.training, ("cannon",)), axes)
        try:
            rows = retraining.run(folder, command, _tell)
        except (KeyboardInterrupt, Exception) as stop:  # a user's network may raise anything
            if isinstance(stop, (CannonError, ChipError)):
                raise
            interrupted = isinstance(stop, KeyboardInterrupt)
            say(
                f"{'stopped' if interrupted else f'{type(stop).__name__}: {stop}'}. What is finished is safe in "
                f"{folder}. Go on with:\n  {command}"
            )
            sys.exit(130 if interrupted else 2)
        self._show(rows, [axis.name for axis in axes], "accuracy")

    def _show(self, rows: Sequence[Row], names: Sequence[str], against: Against) -> None:
        from cannon_fx.atomic import atomic_write_bytes, atomic_write_text
        from cannon_fx.errors import RunError
        from cannon_fx.sweep.rows import table, text_of

        if all("error" in row for row in rows):
            raise RunError(f"no point can be: {rows[0]['error']}")
        if self.csv:
            atomic_write_text(self.csv, text_of(rows))
        if self.plot:
            from cannon_fx.sweep.plot import pareto_plot

            atomic_write_bytes(self.plot, pareto_plot(rows, names, against, self.plot.suffix[1:]))
        width = shutil.get_terminal_size((110, 0)).columns
        sys.stdout.write(json.dumps(rows, indent=1) + "\n" if self.json else table(rows, names, against, width))

    def _check_files(self) -> None:
        from cannon_fx.errors import RunError

        check_folder("csv", self.csv)
        check_folder("plot", self.plot)
        if self.plot and self.plot.suffix not in (".svg", ".png", ".pdf"):
            raise RunError(f"--plot {str(self.plot)!r}: end it with .svg, .png or .pdf.")


def _tell(point: Row, epoch: Epoch) -> None:
    """A line per epoch, beside what a script may read."""
    values = ", ".join(f"{name} {value}" for name, value in point.items())
    sys.stderr.write(f"{values}: epoch {epoch.epoch}, loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.2%}\n")
