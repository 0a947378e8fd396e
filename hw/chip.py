"""The chip: crossbars, tiles, network-on-chip and its energy constants, read from a validated TOML file."""

from __future__ import annotations

import difflib
import math
import tomllib
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .compute import Compute
from .energy import Energy, NocEnergy
from .errors import ChipError
from .network_spec import Routing, Topology
from .reading import read_text, shown
from .router import Router

Count = Annotated[int, Field(gt=0, le=1_000_000, strict=True)]
Positive = Annotated[float, Field(gt=0, le=1e9, strict=True, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, strict=True, allow_inf_nan=False)]
Coordinate = Annotated[int, Field(ge=0, lt=256, strict=True)]


MAX_ROUTERS = 65_536
"""The largest mesh; bounds keep a slip of the pen from asking for more memory than there is."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Crossbar(_Section):
    """One memory array."""

    rows: Count
    columns: Count
    cell_bits: Count


class Tile(_Section):
    """How many crossbars stand behind one router."""

    pe_rows: Count
    pe_columns: Count


class Precision(_Section):
    """Bits of one weight, of one activation on the network, and of one partial sum on the network."""

    weight_bits: Count
    activation_bits: Count
    partial_sum_bits: Count


class Noc(_Section):
    """The network-on-chip. Without `columns` and `rows` it is the smallest square that holds the network.

    A ring has `columns` routers in one row; a tree has `columns` leaves. `concentration` tiles share a router of a
    cmesh, and is the arity of a tree. `link_mm` is the pitch from router to router. With `multicast`, routers copy
    flits: what several tiles need from one passes every link of the tree of its ways once.
    """

    topology: Topology
    routing: Routing = "xy"
    columns: Count | None = None
    rows: Count | None = None
    concentration: Count = 1
    multicast: Annotated[bool, Field(strict=True)] = False
    flit_bits: Count
    packet_flits: Count
    clock_ghz: Positive
    link_mm: Positive
    link_cycles: Count
    port: tuple[Coordinate, Coordinate] = (0, 0)
    router: Router

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.topology in ("ring", "tree"):
            if self.rows is not None or self.port[1] != 0:
                raise ValueError(f"a {self.topology} has no rows: give columns alone, or nothing, and a port [x, 0]")
        elif (self.columns is None) != (self.rows is None):
            raise ValueError("give both columns and rows, or neither (the network is then sized to its tiles)")
        if self.columns is not None:
            rows = self.rows or 1
            if self.columns * rows > MAX_ROUTERS:
                raise ValueError(f"{self.columns} x {rows} is more than {MAX_ROUTERS} routers")
            if self.port[0] >= self.columns or self.port[1] >= rows:
                raise ValueError(f"port {self.port} lies outside the {self.columns} x {rows} {self.topology}")
        if self.topology == "cmesh" and self.concentration < 2:
            raise ValueError("a cmesh has at least 2 tiles per router: give concentration = 2 or more")
        if self.topology == "tree" and self.concentration < 2:
            raise ValueError(f"a tree has {self.concentration} branches per router: give concentration = 2 or more")
        if self.topology not in ("cmesh", "tree") and self.concentration > 1:
            raise ValueError(f"a {self.topology} has one tile per router: leave concentration out")
        if self.topology in ("torus", "ring") and self.router.num_vcs < 2:
            raise ValueError(f"a {self.topology} needs at least 2 VCs to be free of deadlock: give router.num_vcs = 2")
        return self


class Nop(_Section):
    """The network-on-package of a chip of chiplets: links that cross from one chiplet to the next.

    `chiplet_columns` x `chiplet_rows` tiles make a chiplet. A crossing takes `link_cycles`, passes one flit every
    `cycles_per_flit`, and costs `pj_per_bit`.
    """

    chiplet_columns: Count
    chiplet_rows: Count
    link_cycles: Count
    cycles_per_flit: Count
    pj_per_bit: NonNegative


class Chip(_Section):
    """A tiled in-memory-computing chip.

    >>> Chip.load("siam-32nm").tile_rows
    512
    """

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    description: str
    crossbar: Crossbar
    tile: Tile
    precision: Precision
    noc: Noc
    nop: Nop | None = None
    energy: Energy
    compute: Compute | None = None

    @model_validator(mode="after")
    def _has_its_package(self) -> Self:
        if (self.noc.topology == "chiplets") != (self.nop is not None):
            raise ValueError("a chip of chiplets, and no other, has a [nop] section")
        return self

    @model_validator(mode="after")
    def _has_energies(self) -> Self:
        self.noc_energy  # noqa: B018 a chip outside its energy model is refused here, not when it is first used
        return self

    @model_validator(mode="after")
    def _holds_a_weight(self) -> Self:
        if self.tile_columns < 1:
            raise ValueError(
                f"a tile of {self.tile.pe_columns} x {self.crossbar.columns} cells of {self.crossbar.cell_bits} bit "
                f"holds no weight of {self.precision.weight_bits} bits"
            )
        return self

    @property
    def tile_rows(self) -> int:
        """Weight rows that one tile holds."""
        return self.tile.pe_rows * self.crossbar.rows

    @property
    def tile_columns(self) -> int:
        """Weight columns that one tile holds; a weight of b bits takes ceil(b / cell_bits) cells of a row."""
        return self.tile.pe_columns * (
            self.crossbar.columns // math.ceil(self.precision.weight_bits / self.crossbar.cell_bits)
        )

    @cached_property
    def noc_energy(self) -> NocEnergy:
        """What a flit costs in a router and on a link of one tile pitch, and what both cost while idle."""
        noc = self.noc
        ports = {"ring": 3, "tree": noc.concentration + 1}.get(noc.topology, 4 + noc.concentration)
        return self.energy.resolve(noc.flit_bits, noc.router, noc.link_mm, noc.clock_ghz, ports)

    @property
    def crossing_pj_per_flit(self) -> float:
        """Energy of one flit over one link between chiplets, pJ."""
        return self.nop.pj_per_bit * self.noc.flit_bits if self.nop else 0.0

    def static_pj_per_cycle(self, routers: int, pitches: float) -> float:
        """Leakage and clock of `routers` and of links of `pitches` tile pitches in all, pJ (1 mW for 1 ns is 1 pJ)."""
        energy = self.noc_energy
        power_mw = routers * (energy.router_leakage_mw + energy.router_clock_mw) + pitches * energy.link_leakage_mw
        return power_mw / self.noc.clock_ghz

    @classmethod
    def presets(cls) -> list[str]:
        """Names of the chips that come with the package."""
        folder = files(__package__) / "chips"
        return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))

    @classmethod
    def load(cls, chip: str | Path | Chip) -> Chip:
        """A preset by name, or a TOML file by path. Raises ChipError."""
        if isinstance(chip, Chip):
            return chip
        text = str(chip)
        return cls.parse(cls.text_of(chip), text)

    @classmethod
    def text_of(cls, chip: str | Path) -> str:
        """The TOML text of a preset by name, or of a file by path. Raises ChipError."""
        text = str(chip)
        if text in cls.presets():
            return (files(__package__) / "chips" / f"{text}.toml").read_text("utf-8")
        if isinstance(chip, str) and not text.endswith(".toml"):
            near = difflib.get_close_matches(text, cls.presets(), n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ChipError(
                f"unknown chip {text!r}.{hint} The chips that come with cannon_fx are {', '.join(cls.presets())}; "
                "for one of your own give the path of its .toml file."
            )
        return read_text(chip)

    @classmethod
    def parse(cls, content: str, origin: str) -> Chip:
        """A chip from TOML text; `origin` names it in errors. Raises ChipError."""
        try:
            data = tomllib.loads(content)
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in thousands of lists
            raise ChipError(f"chip {origin!r} is not valid TOML: {error}. Correct that line.") from error
        return cls.parse_data(data, origin)

    @classmethod
    def parse_data(cls, data: dict[str, Any], origin: str) -> Chip:
        """A chip from what `dump` returned; `origin` names it in errors. Raises ChipError."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ChipError(f"chip {origin!r}: {'; '.join(map(_describe, error.errors()))}.") from error

    def dump(self) -> dict[str, Any]:
        """The description as plain data, with the keys of the TOML file."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _describe(problem: Any) -> str:
    """One pydantic problem in the words of the file: which key, what is wrong, what stood there."""
    # What follows "energy" or "adc" is the model that was chosen, which is no key.
    keys = [key for before, key in pairwise((None, *problem["loc"])) if before not in ("energy", "adc")]
    where = ".".join(map(str, keys)) or "the file"
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{where} is not a key of a chip description"
    what = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {what[0].lower()}{what[1:]}" + (
        "" if isinstance(problem["input"], dict) else f" (got {shown(problem['input'])})"
    )
