"""Doing the runs of a comparison, each in a folder of its own; what is finished stays finished."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

from cannon_fx.atomic import atomic_write_text
from cannon_fx.checkpoint import CHECKPOINT, CONFIG, REPORT
from cannon_fx.compare.config import CompareConfig, Job
from cannon_fx.compare.rows import Outcome
from cannon_fx.data import ImageData, load_data
from cannon_fx.errors import InfeasibleError, RunError
from cannon_fx.report import write_report
from cannon_fx.run import Run
from cannon_fx.train.baselines.filters import torch_pruning
from cannon_fx.train.ranks import first, rank
from cannon_fx.train.start import RANKING
from cannon_fx.train.training import Epoch

REFUSED = "refused.json"

WAIT_SECONDS = 1.0
"""Between two looks whether another process is done with a run."""

Watcher = Callable[[str, str, Epoch], None]
"""Told the job's name, how far the comparison is, and the epoch; by rank 0."""


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
                with _claimed(folder / job.name, wait) as claimed:
                    if claimed and first(partial(finished, job, folder)) is None:
                        listen = partial(watch, job.name, f"{number}/{total}")
                        _run(job, folder, command, data(), listen, checkpoint_seconds)
    return [Outcome(job.config, record) for job in jobs if (record := finished(job, folder)) is not None]


@contextmanager
def _claimed(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether these processes have `folder` to themselves for the time of the with block. When killed they let go."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        while not (claimed := first(partial(_lock, lock))) and wait:
            time.sleep(WAIT_SECONDS)
        yield claimed


def _lock(file: IO[str]) -> bool:
    """Whether no other holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def finished(job: Job, folder: Path) -> dict[str, Any] | None:
    """The record of a job that is done, with the key "refused" if its budget cannot be met."""
    for name in (REPORT, REFUSED):
        if (folder / job.name / name).exists():
            record: dict[str, Any] = json.loads((folder / job.name / name).read_text("utf-8"))
            return record
    return None


def _run(
    job: Job, folder: Path, command: str, data: ImageData, listen: Callable[[Epoch], None], checkpoint_seconds: float
) -> None:
    own = folder / job.name

    def tell(_: object, epoch: Epoch) -> None:
        if rank() == 0:
            listen(epoch)

    def refuse(reason: str) -> None:
        atomic_write_text(own / REFUSED, json.dumps({"refused": reason}) + "\n")

    def finish(record: dict[str, Any]) -> None:
        write_report(record, own)
        (own / CHECKPOINT).unlink()

    try:
        run = Run(job.config, command, data)
        if first(lambda: (own / CHECKPOINT).exists()):
            run.resume(own)
        else:
            first(lambda: atomic_write_text(own / CONFIG, job.config.toml()))
        record = run.execute(own, tell, checkpoint_seconds)
    except InfeasibleError as error:
        reason = str(error)
        first(lambda: refuse(reason))
    else:
        first(lambda: finish(record))
