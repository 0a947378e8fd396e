"""Saving a sparse network: one safetensors file with the model's own keys, the plan in its metadata.

A dense loader reads weights.safetensors strictly; cut connections are zeros there. packed.safetensors, for deployment,
holds the kept blocks of a cut layer alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
from torch import Tensor, nn

from cannon_fx.atomic import atomic_write_bytes
from cannon_fx.errors import RunError
from cannon_fx.kernels.packed import pack
from cannon_fx.layer import weight_key
from cannon_fx.saved_plan import SavedPlan

if TYPE_CHECKING:
    from cannon_fx.applied import AppliedPlan

WEIGHTS = "weights.safetensors"
PACKED = "packed.safetensors"


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict, each entry with storage of its own, as safetensors wants it (tied weights are repeated)."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}


def save(model: nn.Module, applied: AppliedPlan | None, folder: str | Path, packed: bool = False) -> Path:
    """Writes `folder`/weights.safetensors (or packed.safetensors), whole or not at all, and returns its path."""
    tensors, metadata = own_tensors(model), {"format": "pt"}
    if applied:
        saved = SavedPlan.of(applied)
        for name, module in applied.modules.items() if packed else ():
            if not module.dense:
                key = weight_key(name)
                saved.packed[name] = list(tensors[key].shape)
                tensors[key] = pack(tensors[key], module.pattern).contiguous()
        metadata["cannon"] = saved.model_dump_json()
    path = Path(folder) / (PACKED if packed else WEIGHTS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, safetensors.torch.save(tensors, metadata))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}. Choose a folder that can be written.") from error
    return path
