"""Folders that several processes work in: who is at what, and whether they want the same."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from cannon_fx.atomic import atomic_write_text
from cannon_fx.errors import RunError
from cannon_fx.train.ranks import first

CONFIG, LOCK = "config.toml", "lock"


WAIT_SECONDS = 0.1
"""Between two looks whether others are done: to block in one process would let those that train with it time out"""


@contextmanager
def claimed(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether these processes have `folder` to themselves for the time of the with block. When killed they let go."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as lock:
        while not (has_it := first(partial(_lock, lock))) and wait:
            time.sleep(WAIT_SECONDS)
        yield has_it


def _lock(file: IO[str]) -> bool:
    """Whether no other holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_folder(folder: Path, config: str, what: str, go_on: str) -> None:
    """Makes the folder of a `what`, or finds there what was begun with the same `config`, a TOML text.

    One process's affair: of those of a torchrun, rank 0 calls it. Raises RunError where there is something else;
    `go_on` tells how to go on with what was begun.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may be about to begin the same: its lock, and the config half written.
        names = {path.name for path in folder.iterdir() if path.name != LOCK and f".{CONFIG}." not in path.name}
        if names and CONFIG not in names:
            raise RunError(f"the folder {str(folder)!r} holds something else. Choose another.")
        with open(folder / LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / CONFIG).exists():
                atomic_write_text(folder / CONFIG, config)
            elif (folder / CONFIG).read_text("utf-8") != config:
                raise RunError(
                    f"the {what} in {str(folder)!r} was begun with other options: {go_on}, or begin another in a "
                    "folder of its own."
                )
    except OSError as error:
        raise RunError(f"cannot use the folder {str(folder)!r}: {error.strerror}. Choose another.") from error
