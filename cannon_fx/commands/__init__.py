"""The commands of `cannon`, one file each: a dataclass of options, which tyro reads, with a method `run`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

MOST_CHARACTERS = 1600
"""Of a message."""


def say(message: str) -> None:
    """A message on stderr, off the line of a progress bar or a ^C; of one that quotes too much, both ends."""
    if len(message) > MOST_CHARACTERS:
        half = MOST_CHARACTERS // 2
        message = f"{message[:half]} … {message[-half:]}"
    rank = os.environ.get("RANK", "0")  # torchrun's
    sys.stderr.write(f"cannon{'' if rank == '0' else f', process {rank}'}: {message}\n")


def command_line(*left_out: str) -> str:
    """The command as it was given, to be recorded and repeated."""
    words = shlex.join(word for word in sys.argv[1:] if word not in left_out)
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")  # torchrun's
    return f"cannon {words}" if processes == "1" else f"torchrun --nproc-per-node {processes} -m cannon_fx {words}"


def check_folder(option: str, path: Path | None) -> None:
    """Raises RunError when the folder of a file that is to be written is not there."""
    from cannon_fx.errors import RunError

    if path is not None and not path.absolute().parent.is_dir():
        raise RunError(f"--{option} {str(path)!r} is in a folder that does not exist. Make it first.")


def interruptible(work: Callable[[], T]) -> T:
    """What `work` returns or raises. It runs beside the main thread: compiled code would keep Ctrl-C waiting."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future.result()
