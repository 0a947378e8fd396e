"""Doing the runs of a comparison, each in a folder of its own; what is finished stays finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cannon_fx.atomic import atomic_write_text
from cannon_fx.compare.config import CompareConfig, Job
from cannon_fx.compare.rows import Outcome
from cannon_fx.data import ImageData, load_data
from cannon_fx.errors import InfeasibleError, RunError
from cannon_fx.report import write_report
from cannon_fx.run import CHECKPOINT, CONFIG, Run
from cannon_fx.train.baselines.filters import torch_pruning
from cannon_fx.train.retrain import Epoch
from cannon_fx.train.start import RANKING

REPORT, REFUSED = "report.json", "refused.json"

Watcher = Callable[[str, str, Epoch], None]
"""Told the job's name, how far the comparison is, and the epoch."""


def open_folder(config: CompareConfig, folder: Path) -> None:
    """Makes the comparison's folder, or finds there what was begun with the same options. Raises RunError."""
    if RANKING.keys() & set(config.methods):
        torch_pruning()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CONFIG).exists():
            if (folder / CONFIG).read_text("utf-8") != config.toml():
                raise RunError(
                    f"the comparison in {str(folder)!r} was begun with other options: go on with --config "
                    f"{str(folder / CONFIG)!r}, or begin another with --out."
                )
        elif any(folder.iterdir()):
            raise RunError(f"the folder {str(folder)!r} holds something else. Choose another with --out.")
        else:
            atomic_write_text(folder / CONFIG, config.toml())
    except OSError as error:
        raise RunError(
            f"cannot use the folder {str(folder)!r}: {error.strerror}. Choose another with --out."
        ) from error


def execute(config: CompareConfig, folder: Path, command: str, watch: Watcher) -> list[Outcome]:
    """Does what is left to do in `folder` and returns all outcomes; the budgets that a method cannot meet have none."""
    bases, jobs = list(config.bases().values()), list(config.jobs(folder))
    data: ImageData | None = None
    outcomes = []
    for number, job in enumerate(bases + jobs):
        record = finished(job, folder)
        if record is None:
            data = data or load_data(config.data)
            state = f"{number + 1}/{len(bases) + len(jobs)}"
            record = _run(job, folder, command, data, partial(watch, job.name, state))
        if number >= len(bases):
            outcomes.append(Outcome(job.config, record))
    return outcomes


def finished(job: Job, folder: Path) -> dict[str, Any] | None:
    """The record of a job that is done, with the key "refused" if its budget cannot be met."""
    for name in (REPORT, REFUSED):
        if (folder / job.name / name).exists():
            record: dict[str, Any] = json.loads((folder / job.name / name).read_text("utf-8"))
            return record
    return None


def _run(job: Job, folder: Path, command: str, data: ImageData, listen: Callable[[Epoch], None]) -> dict[str, Any]:
    own = folder / job.name
    try:
        run = Run(job.config, command, data)
        if (own / CHECKPOINT).exists():
            run.resume(own)
        elif not (own / CONFIG).exists():
            run.start(own)
        record = run.execute(own, lambda _, epoch: listen(epoch))
    except InfeasibleError as error:
        record = {"refused": str(error)}
        own.mkdir(parents=True, exist_ok=True)
        atomic_write_text(own / REFUSED, json.dumps(record) + "\n")
        return record
    write_report(record, own)
    (own / CHECKPOINT).unlink()
    return record
