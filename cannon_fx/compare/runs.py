"""Doing the runs of a comparison, each in a folder of its own; what is finished stays finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from cannon_fx import shared_folder
from cannon_fx.atomic import atomic_write_text
from cannon_fx.checkpoint import REPORT
from cannon_fx.compare.config import CompareConfig, Job
from cannon_fx.compare.rows import Outcome
from cannon_fx.data import ImageData, load_data
from cannon_fx.errors import InfeasibleError, RunError
from cannon_fx.finish_run import finish_run
from cannon_fx.train.baselines.filters import torch_pruning
from cannon_fx.train.ranks import first
from cannon_fx.train.start import RANKING
from cannon_fx.train.training import Epoch

REFUSED = "refused.json"

Watcher = Callable[[str, str, Epoch], None]
"""Told the job's name, how far the comparison is, and the epoch; by rank 0."""


def open_folder(config: CompareConfig, folder: Path) -> None:
    """Makes the comparison's folder, or finds there what was begun with the same options. Raises RunError."""
    if RANKING.keys() & set(config.methods):
        torch_pruning()
    shared_folder.open_folder(
        folder, config.toml(), "comparison", f"go on with --config {str(folder / shared_folder.CONFIG)!r}"
    )


def execute(
    config: CompareConfig, folder: Path, command: str, watch: Watcher, checkpoint_seconds: float = 60.0
) -> list[Outcome]:
    """Does what is left to do in `folder` and returns all outcomes.

    Several processes may do so at once: each takes what no other is at, and waits at the end for the others. The
    processes of one torchrun take the same, and divide its batches.
    """
    bases, jobs = list(config.bases().values()), list(config.jobs(folder))
    data, total = cache(partial(load_data, config.data)), len(bases) + len(jobs)
    for part in (bases, jobs):  # a run needs its base
        for wait in (False, True):
            for number, job in enumerate(part, start=1 if part is bases else len(bases) + 1):
                with shared_folder.claimed(folder / job.name, wait) as claimed:
                    if claimed and first(partial(finished, job, folder)) is None:
                        listen = partial(watch, job.name, f"{number}/{total}")
                        _run(job, folder, command, data(), listen, checkpoint_seconds)
    return [Outcome(job.config, record) for job in jobs if (record := finished(job, folder)) is not None]


def finished(job: Job, folder: Path) -> dict[str, Any] | None:
    """The record of a job that is done, with the key "refused" if its budget cannot be met."""
    for name in (REPORT, REFUSED):
        if (path := folder / job.name / name).exists():
            try:
                record: dict[str, Any] = json.loads(path.read_text("utf-8"))
                if not isinstance(record, dict) or not {"methods", "refused"} & record.keys():
                    raise ValueError("it is no record of a run")
            except (OSError, ValueError, RecursionError) as error:
                raise RunError(f"{str(path)!r} is damaged: {error}. Remove it, to do that run again.") from error
            return record
    return None


def _run(
    job: Job, folder: Path, command: str, data: ImageData, listen: Callable[[Epoch], None], checkpoint_seconds: float
) -> None:
    own = folder / job.name
    try:
        finish_run(own, job.config, command, data, listen, checkpoint_seconds)
    except InfeasibleError as error:
        reason = str(error)
        first(lambda: atomic_write_text(own / REFUSED, json.dumps({"refused": reason}) + "\n"))
