"""What a sweep varies: `NAME=VALUES`, a list or a range."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cannon_fx.errors import RunError
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.symbolic import CONSTANTS

FORMULA_CONSTANTS = tuple(map(str, CONSTANTS))
"""Names of the constants in which a plan's energy is a formula: nothing is mapped again for them."""

RETRAINED = ("budget", "chip", "seed")
"""What a study varies: the network is retrained at each point."""

MOST_POINTS = 1_000_000


@dataclass(frozen=True)
class Axis:
    """One name and the values that it takes.

    A name of `FORMULA_CONSTANTS` is a constant of the energy formula; `chip` takes chips; any other name is a key of
    the chip's file, such as noc.flit_bits. Values are `a,b,c`, or `first:last:count` evenly, or `first:last:count:log`
    at equal ratios.
    """

    name: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, wish: str, chip: Chip) -> Axis:
        """Raises RunError for a name that the chip does not have and values that are none."""
        name, values = split(wish)
        if name in RETRAINED and name != "chip":
            raise RunError(f"--vary {wish!r}: {name} counts where a network is retrained. Give --study FOLDER too.")
        keys = ["chip", *FORMULA_CONSTANTS, *_keys(chip.dump())]
        if name not in keys:
            near = difflib.get_close_matches(name, keys, n=3, cutoff=0.4)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise RunError(
                f"--vary {wish!r}: chip {chip.name} has no {name!r}.{hint} Give a key of its file, chip, or one of "
                f"{', '.join(FORMULA_CONSTANTS)}."
            )
        if name in FORMULA_CONSTANTS and not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
            raise RunError(f"--vary {wish!r}: {name} is a number.")
        return cls(name, values)

    @property
    def in_formula(self) -> bool:
        """True where nothing has to be mapped again."""
        return self.name in FORMULA_CONSTANTS


def check_axes(axes: Sequence[Axis]) -> None:
    """Raises RunError for a name that is varied twice, and for more points than can be."""
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise RunError(f"--vary {name} is given twice: give all its values at once.")
    points = math.prod(len(axis.values) for axis in axes)
    if points > MOST_POINTS:
        raise RunError(f"{points:,} points are too many: at most {MOST_POINTS:,}. Vary less.")


def with_values(chip: Chip, values: Mapping[str, Any]) -> Chip:
    """The chip, or the one that `values` names, with keys of its file changed.

    Raises ChipError for a value that the chip cannot have.
    """
    chip = Chip.load(values.get("chip", chip))
    data = chip.dump()
    changes = {key: value for key, value in values.items() if key != "chip"}
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = data
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    given = ", ".join(f"{key} = {value}" for key, value in changes.items())
    return Chip.parse_data(data, f"{chip.name} with {given}" if changes else chip.name)


def _keys(data: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in data.items():
        found += _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


def split(wish: str) -> tuple[str, tuple[Any, ...]]:
    """The name and the values. Raises RunError."""
    name, equals, text = wish.partition("=")
    if not equals or not text:
        raise RunError(f"--vary {wish!r} is not NAME=VALUES, such as noc.flit_bits=16,32,64 or link_mm=0.5:2:100.")
    return name, _range(wish, text) if ":" in text else tuple(_value(word) for word in text.split(","))


def _value(word: str) -> Any:
    """A number, true or false as TOML writes them; anything else is a string."""
    try:
        return json.loads(word)
    except ValueError:
        return word


def _range(wish: str, text: str) -> tuple[Any, ...]:
    words = text.split(":")
    try:
        first, last, count = float(words[0]), float(words[1]), int(words[2])
        logarithmic = words[3:] == ["log"]
        if (words[3:] and not logarithmic) or not 2 <= count <= MOST_POINTS or not math.isfinite(last - first):
            raise ValueError
        points = np.geomspace(first, last, count) if logarithmic else np.linspace(first, last, count)
    except (ValueError, IndexError) as error:
        raise RunError(
            f"--vary {wish!r}: {text!r} is no range. Write first:last:count with at least 2 values, and :log behind it "
            "for equal ratios."
        ) from error
    # Whole numbers stay whole, so that 16:64:4 can be a number of bits.
    return tuple(int(p) if float(p).is_integer() else float(p) for p in points.tolist())
