"""Saving a sparse network: one safetensors file with the model's own keys, the plan in its metadata.

A dense loader reads the same file strictly; cut connections are zeros there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
from torch import Tensor, nn

from cannon_fx.atomic import atomic_write_bytes
from cannon_fx.errors import RunError

if TYPE_CHECKING:
    from cannon_fx.applied import AppliedPlan

WEIGHTS = "weights.safetensors"


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict, each entry with storage of its own, as safetensors wants it (tied weights are repeated)."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}


def save(model: nn.Module, applied: AppliedPlan | None, folder: str | Path) -> Path:
    """Writes `folder`/weights.safetensors, whole or not at all, and returns its path."""
    metadata = {"format": "pt"} | ({"cannon": json.dumps(_describe(applied))} if applied else {})
    path = Path(folder) / WEIGHTS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, safetensors.torch.save(own_tensors(model), metadata))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}. Choose a folder that can be written.") from error
    return path


def _describe(applied: AppliedPlan) -> dict[str, Any]:
    arguments = applied.exported.example_inputs
    assert arguments is not None, "capture always has inputs"
    if arguments[1] or not all(isinstance(x, Tensor) for x in arguments[0]):
        raise RunError("this plan cannot be saved: the network was captured with inputs that are not plain tensors.")
    return {
        "schema": 1,
        "chip": applied.chip.dump(),
        "options": dict(applied.options),
        "inputs": [{"shape": list(x.shape), "dtype": str(x.dtype).removeprefix("torch.")} for x in arguments[0]],
        "keep": {name: np.packbits(keep).tobytes().hex() for name, keep in applied.keep().items()},
    }
