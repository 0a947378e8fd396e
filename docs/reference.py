"""The API reference as HTML, from the docstrings, with every name's source: `python docs/reference.py FOLDER`."""

import sys
from pathlib import Path

import pdoc

MODULES = (
    "cannon_fx",
    "!cannon_fx[.].+",  # of what lies below, these alone
    "cannon_fx.callbacks",
    "cannon_fx.cost",
    "cannon_fx.data",
    "cannon_fx.hw.communication",
    "cannon_fx.hw.symbolic",
    "cannon_fx.train.budget",
    "cannon_fx.train.control",
)


def write(folder: Path) -> None:
    """One page per module, an index and a search."""
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
