"""Doing the runs of a comparison, each in a folder of its own; what is finished stays finished."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
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
    """Does what is left to do in `folder` and returns all outcomes.

    Several processes may do so at once: each takes what no other is at, and waits at the end for the others.
    """
    bases, jobs = list(config.bases().values()), list(config.jobs(folder))
    data, total = cache(partial(load_data, config.data)), len(bases) + len(jobs)
    for part in (bases, jobs):  # a run needs its base
        for wait in (False, True):
            for number, job in enumerate(part, start=1 if part is bases else len(bases) + 1):
                with _claimed(folder / job.name, wait) as claimed:
                    if claimed and finished(job, folder) is None:
                        _run(job, folder, command, data(), partial(watch, job.name, f"{number}/{total}"))
    return [Outcome(job.config, record) for job in jobs if (record := finished(job, folder)) is not None]


@contextmanager
def _claimed(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether this process has `folder` to itself for the time of the with block. A killed process lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            claimed = False
        else:
            claimed = True
        yield claimed


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


def _run(job: Job, folder: Path, command: str, data: ImageData, listen: Callable[[Epoch], None]) -> None:
    own = folder / job.name
    try:
        run = Run(job.config, command, data)
        if (own / CHECKPOINT).exists():
            run.resume(own)
        else:
            atomic_write_text(own / CONFIG, job.config.toml())
        record = run.execute(own, lambda _, epoch: listen(epoch))
    except InfeasibleError as error:
        atomic_write_text(own / REFUSED, json.dumps({"refused": str(error)}) + "\n")
        return
    write_report(record, own)
    (own / CHECKPOINT).unlink()
