"""The points of a study: a network retrained to each budget, for each chip, from each seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cannon_fx.config import RunConfig, to_toml
from cannon_fx.data import load_data
from cannon_fx.errors import RunError
from cannon_fx.factory import load_model, load_weights
from cannon_fx.finish_run import finish_run
from cannon_fx.hw.chip import Chip
from cannon_fx.shared_folder import open_folder
from cannon_fx.sweep.axes import RETRAINED, Axis, split
from cannon_fx.sweep.study import Row, Study, optuna
from cannon_fx.train.budget import Budget
from cannon_fx.train.training import Epoch

COSTS = ("energy_pj", "static_energy_pj", "latency_cycles", "edp_pj_cycles", "density")

Watcher = Callable[[Row, Epoch], None]
"""Told the point and the epoch."""


def retraining_axis(wish: str) -> Axis:
    """NAME=VALUES of one of `RETRAINED`. Raises RunError, InfeasibleError for no budget, ChipError for no chip."""
    name, values = split(wish)
    if name not in RETRAINED:
        raise RunError(f"--vary {wish!r}: a study varies {', '.join(RETRAINED)}.")
    if len(set(values)) < len(values):
        raise RunError(f"--vary {wish!r} gives a value twice.")
    if name == "seed":
        if not all(isinstance(value, int) and 0 <= value < 2**63 for value in values):
            raise RunError(f"--vary {wish!r}: a seed is a whole number from 0 to 2^63 - 1.")
        return Axis(name, values)
    check: Callable[[str], object] = Budget.parse if name == "budget" else Chip.load
    for value in values:
        check(str(value))
    return Axis(name, tuple(map(str, values)))


@dataclass(frozen=True)
class Retraining:
    """What a study retrains: `config`, with the values of `axes` in it."""

    config: RunConfig
    axes: tuple[Axis, ...]

    def study(self, folder: Path) -> Study:
        """The study in `folder`, begun or gone on with. Raises RunError where there is something else."""
        optuna()
        varied = {axis.name: list(axis.values) for axis in self.axes}
        open_folder(
            folder, to_toml(self.config.plain() | varied), "study", "give them again (its config.toml has them)"
        )
        return Study.open(folder, self.axes)

    def run(self, folder: Path, command: str, watch: Watcher) -> list[Row]:
        """Works on the study until it is finished and returns its rows: the point, and what was found or the error."""
        data, model = load_data(self.config.data), load_model(self.config.model)
        if self.config.base_weights is not None:
            load_weights(model, self.config.base_weights)
        study = self.study(folder)  # what goes wrong from now on is a point's own

        def found(point: Row, own: Path) -> Row:
            config = replace(self.config, **point)
            record = finish_run(own, config, command, data, partial(watch, point))
            return row_of(record["methods"][config.methods[0]])

        study.work(found)
        return study.rows()


def row_of(method: Row) -> Row:
    """A method's part of a record, as a row."""
    row = {name: method[name] for name in ("accuracy", *COSTS)}
    if method["efficiency"]:
        row["tops_per_watt"] = method["efficiency"]["total"]["tops_per_watt"]
    if method["quantised_accuracy"] is not None:
        row["quantised_accuracy"] = method["quantised_accuracy"]
    return row | {"seconds": method["seconds"]}
