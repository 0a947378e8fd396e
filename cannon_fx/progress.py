"""What a run shows while it runs: a live bar on a terminal, one plain line per epoch elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from cannon_fx.report.numbers import percent, quantity, ratio
from cannon_fx.run import Run, Stage
from cannon_fx.train.ranks import rank
from cannon_fx.train.training import Epoch


class Progress:
    """A listener for Run.execute, to be used in a with block."""

    def __init__(self, run: Run) -> None:
        self.run, self.console = run, Console(quiet=rank() > 0)
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Bar(*columns, TimeRemainingColumn(), console=self.console, disable=not self.console.is_terminal)
        self.tasks = {
            stage.name: self.bar.add_task(stage.name, total=stage.epochs, note="", start=False) for stage in run.stages
        }
        for row in run.history:  # a resumed run
            self.bar.advance(self.tasks[row["method"]])

    def __enter__(self) -> Self:
        plan, cost = self.run.plan, self.run.full
        self.console.print(
            f"{self.run.config.model} on {plan.chip.name}: {len(plan.layers)} layers on {plan.tiles} tiles, "
            f"{quantity(cost.energy_pj)} pJ and {quantity(cost.latency_cycles)} cycles of communication per inference",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        for skipped in plan.unmapped:
            self.console.print(f"not mapped: {skipped.name}: {skipped.reason}", highlight=False, markup=False)
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, stage: Stage, epoch: Epoch) -> None:
        note = f"accuracy {percent(epoch.accuracy)} %"
        if stage.method != "dense":
            dense = self.run.full.energy_pj
            note += f"  energy {epoch.energy_pj / dense if dense else 1.0:6.1%} of dense"
        if self.console.is_terminal:
            self.bar.start_task(self.tasks[stage.name])
            self.bar.update(self.tasks[stage.name], advance=1, note=note)
        else:
            line = f"{stage.name:<10} {epoch.epoch:>3}/{stage.epochs} {epoch.phase:<9} loss {epoch.loss:.3f}  {note}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def finish(self, record: dict[str, Any], folder: Path) -> None:
        """The result as a table, and where to look."""
        table = Table(
            "method", "accuracy (%)", "energy (pJ)", "latency (cycles)", "EDP (pJ·cycles)", "energy vs. dense"
        )
        quantised = self.run.config.quantised
        efficient = all(method["efficiency"] for method in record["methods"].values())
        if efficient:
            table.add_column("TOPS/W")
        if quantised:
            table.add_column("on the chip (%)")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, method in record["methods"].items():
            dense = self.run.full.energy_pj
            costs = [quantity(method[key]) for key in ("energy_pj", "latency_cycles", "edp_pj_cycles")]
            more = [quantity(method["efficiency"]["total"]["tops_per_watt"])] if efficient else []
            if quantised:
                more.append(percent(method["quantised_accuracy"], 2))
            table.add_row(name, percent(method["accuracy"], 2), *costs, ratio(dense, method["energy_pj"]), *more)
        self.console.print(table)
        self.console.print(f"report: {folder / 'report.html'}", highlight=False, markup=False, soft_wrap=True)
