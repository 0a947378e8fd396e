"""A plan on disk: versioned JSON, checked when it is read, brought up to date when it is older."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor

from cannon_fx.errors import MappingError, RunError
from cannon_fx.layer import Layer
from cannon_fx.passes.place import PlacementOrder

if TYPE_CHECKING:
    from cannon_fx.applied import AppliedPlan

SCHEMA = 2


class SavedInput(BaseModel):
    """An example input: its shape and dtype, "float32"."""

    model_config = ConfigDict(extra="forbid")
    shape: list[NonNegativeInt]
    dtype: str

    @field_validator("dtype")
    @classmethod
    def _known(cls, dtype: str) -> str:
        if not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(f"torch has no dtype {dtype!r}")
        return dtype


class SavedOptions(BaseModel):
    """The compiler's own options."""

    model_config = ConfigDict(extra="forbid", strict=True)
    group_size: PositiveInt
    order: PlacementOrder
    seed: NonNegativeInt


class SavedPlan(BaseModel):
    """What it takes to make the plan again, and which connections are kept."""

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[2] = 2
    chip: dict[str, Any]
    """As in a chip file"""
    options: SavedOptions
    inputs: list[SavedInput]
    keep: dict[str, str]
    """Per layer, the bits of bool [J, G], in hexadecimal"""
    packed: dict[str, list[int]] = {}
    """Per layer whose weight holds the kept blocks alone, the weight's own shape"""

    @field_validator("keep")
    @classmethod
    def _bits(cls, keep: dict[str, str]) -> dict[str, str]:
        for bits in keep.values():
            bytes.fromhex(bits)  # raises ValueError
        return keep

    @model_validator(mode="after")
    def _packed_is_cut(self) -> Self:
        if unknown := self.packed.keys() - self.keep.keys():
            raise ValueError(f"packed names {min(unknown)!r}, which has no mask")
        return self

    @classmethod
    def of(cls, applied: AppliedPlan) -> SavedPlan:
        """Raises RunError when the network was captured with other inputs than plain tensors."""
        arguments = applied.exported.example_inputs
        assert arguments is not None, "capture always has inputs"
        if not all(isinstance(x, Tensor) for x in arguments[0]):
            raise RunError(
                "this plan cannot be saved: the network was captured with inputs that are not plain tensors. Save its "
                "state_dict instead."
            )
        return cls(
            chip=applied.chip.dump(),
            options=SavedOptions(**applied.options),
            inputs=[SavedInput(shape=list(x.shape), dtype=str(x.dtype).removeprefix("torch.")) for x in arguments[0]],
            keep={name: np.packbits(keep).tobytes().hex() for name, keep in applied.keep().items()},
        )

    @classmethod
    def parse(cls, text: str, path: Path) -> SavedPlan:
        """The plan in file `path`, of this schema or an earlier one. Raises RunError for anything else."""
        try:
            data = json.loads(text)
            version = data.get("schema_version", data.get("schema"))
            if not isinstance(version, int) or not 1 <= version <= SCHEMA:
                raise RunError(
                    f"the plan in {path} has schema {version}, this cannon_fx reads 1 to {SCHEMA}. Update cannon_fx."
                )
            for old in range(version, SCHEMA):
                data = MIGRATIONS[old](data)
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise RunError(f"the plan in {path} is damaged at {where!r}: {first['msg']}. Save it again.") from error
        except (ValueError, AttributeError, RecursionError) as error:
            raise RunError(f"the plan in {path} is damaged: {error}. Save it again.") from error

    def arguments(self, device: torch.device) -> tuple[Tensor, ...]:
        """Inputs like those of the capture."""
        return tuple(torch.zeros(i.shape, dtype=getattr(torch, i.dtype), device=device) for i in self.inputs)

    def keep_of(self, layer: Layer) -> NDArray[np.bool_]:
        """The layer's mask [J, G]. Raises MappingError when it was saved for another split."""
        shape = layer.column_blocks, layer.groups
        packed = np.frombuffer(bytes.fromhex(self.keep[layer.name]), np.uint8)
        if len(packed) != -(-shape[0] * shape[1] // 8):
            raise MappingError(
                f"the mask of layer {layer.name!r} has {len(packed)} bytes, but its {shape[0]} x {shape[1]} "
                f"connections need {-(-shape[0] * shape[1] // 8)}: it belongs to another network or chip."
            )
        return np.unpackbits(packed, count=shape[0] * shape[1]).astype(bool).reshape(shape)


def _without_packed(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 had no packed weights, and another name for its own version."""
    rest = {key: value for key, value in data.items() if key != "schema"}
    return {**rest, "schema_version": 2, "packed": {}}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _without_packed}
"""Schema version -> what makes the next one of it."""
