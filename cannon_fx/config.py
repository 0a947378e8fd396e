"""Everything that decides a run's numbers, checked as soon as it is put together."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from cannon_fx.errors import RunError
from cannon_fx.hw.reading import shown
from cannon_fx.methods import MEANING, Method
from cannon_fx.passes.place import PlacementOrder
from cannon_fx.train.distillation import check_share

T = TypeVar("T")

METHODS = ", ".join(MEANING)


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML, which writes strings, numbers and lists of them as JSON does; what is None is left out."""
    given = {key: value for key, value in values.items() if value is not None}
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in given.items())
    return text.replace("\x7f", "\\u007f")  # JSON lets it stand, TOML does not


def read_toml(kind: type[T], path: Path) -> T:
    """A dataclass from a TOML file that has its fields and no others, as `to_toml` writes them. Raises RunError."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{str(path)!r} cannot be read: {error}. Give a config.toml that cannon wrote.") from error
    types = get_type_hints(kind)
    if wrong := sorted(types.keys() ^ values.keys()):
        problem = "missing" if wrong[0] in types else "not an option"
        raise RunError(f"{str(path)!r}: {shown(wrong[0])} is {problem}. Give a config.toml that cannon wrote.")
    found: dict[str, Any] = {}
    for name, value in values.items():
        given = tuple(value) if isinstance(value, list) else value
        try:
            found[name] = TypeAdapter(types[name]).validate_python(given, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise RunError(f"{str(path)!r}: {name} is {shown(value)}: {problem}. Correct it.") from error
    return kind(**found)


@dataclass(frozen=True)
class RunConfig:
    """Raises RunError for a value that no run can have; names and files are checked by those who read them."""

    model: str
    data: str
    chip: str
    budget: str
    methods: tuple[Method, ...]
    dense_epochs: int
    epochs: int
    batch_size: int
    learning_rate: float
    group_size: int
    order: PlacementOrder
    targets: tuple[str, ...]
    ignore: tuple[str, ...]
    device: str
    seed: int
    base_weights: str | None = None
    hold_out: bool = False
    bfloat16: bool = False
    quantised: bool = False
    accumulate: int = 1
    distill: float = 0.0

    def __post_init__(self) -> None:
        least = {"epochs": 2, "dense_epochs": 0, "batch_size": 1, "accumulate": 1, "group_size": 1, "seed": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise RunError(f"{name} is {getattr(self, name)}: give at least {value}.")
        if self.seed >= 2**63:
            raise RunError(f"seed is {self.seed}: give one below 2^63.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise RunError(f"learning_rate is {self.learning_rate}: give a positive number.")
        check_share(self.distill)
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise RunError("methods must name each method once: choose among " + METHODS + ".")
        try:
            torch.ones(1, device=self.device).item()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"device {self.device!r} cannot be used here: {reason} Try 'cpu'.") from error

    def plain(self) -> dict[str, Any]:
        """Plain values, with lists for tuples."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def toml(self) -> str:
        """As TOML."""
        return to_toml(self.plain())
