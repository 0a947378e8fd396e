"""The commands of `cannon`, one file each: a dataclass of options, which tyro reads, with a method `run`."""

from __future__ import annotations

import sys
from pathlib import Path


def say(message: str) -> None:
    """A message on stderr, off the line of a progress bar or a ^C."""
    sys.stderr.write(f"cannon: {message}\n")


def read_text(path: Path) -> str:
    """A file that an option names. Raises RunError."""
    from cannon_fx.errors import RunError

    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise RunError(f"cannot read {str(path)!r}: {why}. Give a readable file.") from error
