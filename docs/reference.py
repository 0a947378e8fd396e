"""The API reference as HTML, from the docstrings, with every name's source: `python docs/reference.py FOLDER`."""

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pdoc

MODULES = (
    "cannon_fx",
    "cannon_fx.callbacks",
    "!cannon_fx[.].+[.].+",
    "!cannon_fx[.](?!callbacks).+",  # of what lies below, these alone:
    "cannon_fx.cost",
    "cannon_fx.data",
    "cannon_fx.hw.communication",
    "cannon_fx.hw.symbolic",
    "cannon_fx.train.budget",
    "cannon_fx.train.control",
)

WITH_OTHER_PACKAGES = ("cannon_fx.callbacks.huggingface", "cannon_fx.callbacks.lightning")
"""Left out where what they are for cannot be imported."""


def write(folder: Path) -> None:
    """One page per module, an index and a search."""
    modules = list(MODULES)
    for name in WITH_OTHER_PACKAGES:
        with suppress(ImportError, RuntimeError):
            import_module(name)  # pdoc's own imports forbid side effects, which these packages have
            modules.append(name)
    pdoc.pdoc(*modules, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
