"""The lists that come with the package, one .txt file each, and lists of one's own."""

from __future__ import annotations

from importlib.resources import files

from cannon_fx.errors import RunError
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.reading import read_text
from cannon_fx.zoo.entry import Entry, parse_list


def names() -> list[str]:
    """The lists of the package."""
    return sorted(f.name.removesuffix(".txt") for f in files(__package__).iterdir() if f.name.endswith(".txt"))


def entries_of(name: str) -> list[Entry]:
    """The entries of a list of the package, or of a file. Raises RunError."""
    if name in names():
        return parse_list((files(__package__) / f"{name}.txt").read_text("utf-8"), name)
    try:
        text = read_text(name)
    except ChipError as error:
        raise RunError(f"--list {name!r} is none of {', '.join(names())}, and no file: {error}") from error
    return parse_list(text, name)
