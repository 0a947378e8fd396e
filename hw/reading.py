"""Text files that users name, and how errors quote what stands in them."""

from __future__ import annotations

import reprlib
from pathlib import Path

from .errors import ChipError


def read_text(path: str | Path) -> str:
    """The text of a file. Raises ChipError."""
    try:
        return Path(path).read_text("utf-8-sig")  # some editors begin a file with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise ChipError(f"cannot read {str(path)!r}: {why}. Give a readable file.") from error


def shown(value: object) -> str:
    """A value as an error quotes it: on one line, and cut short."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"
