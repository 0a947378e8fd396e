"""What report.json must hold to be shown: its shape, checked before anything is drawn from a stranger's file.

Keys that the page does not show are let through.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannon_fx.hw.chip import Chip

Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Number = Annotated[float, Field(ge=0, le=1e300, allow_inf_nan=False)]
Tile = Annotated[int, Field(ge=-1, le=2**53)]
"""-1 is the I/O port."""
Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[float, Field(ge=0, le=1e6)]
MOST_TILES = 65_536


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class LayerRecord(_Part):
    """A layer under one method; `keep` is bool [mask_rows, channel groups], packed, in hexadecimal.

    `mask_rows` are its column blocks, or those that it had before it was mapped anew.
    """

    name: str
    kind: str
    weight_shape: list[Count]
    row_blocks: Size
    column_blocks: Size
    utilisation: Share
    tile_utilisation: list[list[Share]]
    connections: Size
    kept: Count
    keep: str
    mask_rows: Size | None = None
    energy_pj: Number
    latency_cycles: Number

    @model_validator(mode="after")
    def _whole_mask(self) -> Self:
        if (
            self.connections % (self.mask_rows or self.column_blocks)
            or len(bytes.fromhex(self.keep)) * 8 < self.connections
        ):
            raise ValueError("keep does not hold a bit for every connection")
        return self


class MoveRecord(_Part):
    """Another op's transfers."""

    name: str
    op: str
    energy_pj: Number
    latency_cycles: Number


class LinkRecord(_Part):
    """A link with traffic; `largest` are transfers as phase, source tile, target tile, flits."""

    start: tuple[Place, Place] = Field(alias="from")
    end: tuple[Place, Place] = Field(alias="to")
    flits: Annotated[int, Field(ge=1, le=2**53)]
    transfers: Count
    largest: list[tuple[Count, Tile, Tile, Count]]


class ComputeRecord(_Part):
    """Energy of the crossbars by component, pJ, and the latency."""

    crossbar_pj: Number
    driver_pj: Number
    adc_pj: Number
    shift_add_pj: Number
    accumulate_pj: Number
    energy_pj: Number
    latency_cycles: Number


class EfficiencyPart(_Part):
    """Operations, energy and speed of a layer, or in all."""

    name: str
    operations: Count
    crossbar_pj: Number
    adc_pj: Number
    digital_pj: Number
    communication_pj: Number
    total_pj: Number
    communication_share: Share
    tops_per_watt: Number
    tops: Number


class EfficiencyRecord(_Part):
    """Layer by layer, and in all."""

    parts: list[EfficiencyPart]
    total: EfficiencyPart


class TileRecord(_Part):
    """Which part of which layer stands where."""

    tile: Count
    x: Count
    y: Count
    layer: str
    row_block: Count
    column_block: Count


class FloorPlanRecord(_Part):
    """The grid of tiles; `port` is where the network's input enters, `links` are x and y of both ends of each."""

    columns: Size
    rows: Size
    port: tuple[Place, Place] | None = None
    links: list[tuple[Place, Place, Place, Place]]
    tiles: list[TileRecord]

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        if self.columns * self.rows > MOST_TILES:
            raise ValueError(f"{self.columns} x {self.rows} is more than {MOST_TILES} tiles")
        if any(tile.x >= self.columns or tile.y >= self.rows for tile in self.tiles):
            raise ValueError(f"a tile lies outside the {self.columns} x {self.rows} places")
        return self


class MethodRecord(_Part):
    """What came of one method."""

    accuracy: Share | None
    quantised_accuracy: Share | None = None
    energy_pj: Number | None
    static_energy_pj: Number | None
    latency_cycles: Number | None
    simulated_latency_cycles: Number | None = None
    edp_pj_cycles: Number | None
    density: Share | None
    latency_model: str
    epochs: Count | None = None
    energy_shares_pj: dict[Literal["input", "partial_sum", "move"], Number]
    compute: ComputeRecord | None = None
    efficiency: EfficiencyRecord | None = None
    layers: list[LayerRecord]
    moves: list[MoveRecord] = []
    phases: list[tuple[str, str]]
    floor_plan: FloorPlanRecord | None = None
    links: list[LinkRecord]


class EpochRecord(_Part):
    """A row of the history."""

    method: str
    epoch: Count
    phase: str | None = None
    accuracy: Share | None = None
    energy_pj: Number | None = None


class UnmappedRecord(_Part):
    """A layer that is not on the chip."""

    name: str
    reason: str


class Record(_Part):
    """All of it."""

    schema_version: Literal[1] = Field(alias="schema")
    command: str
    versions: dict[str, str]
    network: str
    data: str | None = None
    seed: int | None = None
    device: str | None = None
    budget: str | None = None
    seconds: Number | None = None
    chip: Chip
    chip_sources: dict[str, str] = {}
    noc_energy: dict[str, Number]
    methods: Annotated[dict[str, MethodRecord], Field(min_length=1)]
    floor_plan: FloorPlanRecord
    unmapped: list[UnmappedRecord] = []
    fallback_ops: list[str] = []
    history: list[EpochRecord] = []


def described(problem: Any) -> str:
    """One of pydantic's findings: where, and what is wrong there."""
    where = ".".join(map(str, problem["loc"]))
    return f"{where} is missing" if problem["type"] == "missing" else f"{where}: {problem['msg'].rstrip('.')}"
