"""A run's folder while it is worked at: its configuration, and the state from which a run that was killed goes on."""

from __future__ import annotations

import io
import os
import time
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

from cannon_fx.atomic import atomic_write_bytes, atomic_write_text
from cannon_fx.config import RunConfig
from cannon_fx.errors import RunError
from cannon_fx.train.ranks import agreed, first

CHECKPOINT, CONFIG, REPORT = "checkpoint.pt", "config.toml", "report.json"


def refuse(folder: Path) -> NoReturn:
    """Raises RunError: no run overwrites what is there."""
    raise RunError(
        f"the output folder {str(folder)!r} exists already. Choose another with --out, go on with an "
        "unfinished run there with --resume, or remove it."
    )


def make_folder(folder: Path, config: RunConfig) -> None:
    """With the configuration in it. Raises RunError when it exists or cannot be made."""
    try:
        folder.mkdir(parents=True)
        try:
            atomic_write_text(folder / CONFIG, config.toml())
        except OSError:
            abandon(folder)
            raise
    except FileExistsError:
        refuse(folder)
    except OSError as error:
        raise RunError(
            f"cannot make the output folder {str(folder)!r}: {error.strerror}. Choose another with --out."
        ) from error


def abandon(folder: Path) -> None:
    """Takes back what `make_folder` made, as long as there is nothing to go on from."""
    (folder / CONFIG).unlink(missing_ok=True)
    with suppress(OSError):  # something else lies there by now
        folder.rmdir()


def read_checkpoint(folder: Path, config: RunConfig, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state to go on from; None if the run was killed before there was one.

    Raises RunError when there is no unfinished run, or one with other options or files.
    """
    path = folder / CHECKPOINT
    if not os.path.isfile(path):
        finished = os.path.isfile(folder / REPORT)
        if finished or not os.path.isfile(folder / CONFIG):
            done = " It is finished." if finished else ""
            raise RunError(
                f"there is no unfinished run in {str(folder)!r}.{done} Leave --resume out, or name another --out."
            )
        _check_same(folder, tomllib.loads((folder / CONFIG).read_text("utf-8")), config.plain())
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved = dict(state["identity"])
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise RunError(
            f"the checkpoint {str(path)!r} cannot be read ({type(error).__name__}). Start again with another --out."
        ) from error
    _check_same(folder, saved, identity)
    return state


def _check_same(folder: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key, value in now.items():
        if saved.get(key) != value:
            raise RunError(
                f"the run in {str(folder)!r} was started with {key} = {saved.get(key)!r}, now it is {value!r}. "
                "Resume with the options and files it was started with (see its config.toml), or start another "
                "with --out."
            )


class Checkpoints:
    """Writes a run's state into `folder`; without one, nothing is written."""

    def __init__(self, folder: Path | None, every_seconds: float) -> None:
        self.folder, self.every_seconds, self.last = folder, every_seconds, time.monotonic()

    def due(self) -> bool:
        """Whether `every_seconds` have passed since the last one, by rank 0's clock."""
        return self.folder is not None and agreed(time.monotonic() - self.last >= self.every_seconds)

    def write(self, state: Mapping[str, Any]) -> None:
        """All of it or nothing."""
        if self.folder is not None:
            buffer = io.BytesIO()
            torch.save(dict(state), buffer)
            path = self.folder / CHECKPOINT
            first(lambda: atomic_write_bytes(path, buffer.getvalue()))
            self.last = time.monotonic()
