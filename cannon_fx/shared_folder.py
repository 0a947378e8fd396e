"""Folders that several processes work in: who is at what, and whether they want the same."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cannon_fx.atomic import atomic_write_text
from cannon_fx.errors import RunError

CONFIG, LOCK = "config.toml", "lock"


@contextmanager
def claimed(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether this process has `folder` to itself for the time of the with block. A killed process lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            has_it = False
        else:
            has_it = True
        yield has_it


def open_folder(folder: Path, config: str, what: str, go_on: str) -> None:
    """Makes the folder of a `what`, or finds there what was begun with the same `config`, a TOML text.

    Raises RunError where there is something else; `go_on` tells how to go on with what was begun.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may be about to begin the same: its lock, and the config half written.
        names = {path.name for path in folder.iterdir() if path.name != LOCK and f".{CONFIG}." not in path.name}
        if names and CONFIG not in names:
            raise RunError(f"the folder {str(folder)!r} holds something else. Choose another.")
        with claimed(folder, wait=True):
            if not (folder / CONFIG).exists():
                atomic_write_text(folder / CONFIG, config)
            elif (folder / CONFIG).read_text("utf-8") != config:
                raise RunError(
                    f"the {what} in {str(folder)!r} was begun with other options: {go_on}, or begin another in a "
                    "folder of its own."
                )
    except OSError as error:
        raise RunError(f"cannot use the folder {str(folder)!r}: {error.strerror}. Choose another.") from error
