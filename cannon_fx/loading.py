"""Loading a sparse network that was saved: the plan first, then masks and weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cannon_fx.applied import AppliedPlan
from cannon_fx.compile import plan
from cannon_fx.errors import MappingError, RunError
from cannon_fx.hw.chip import Chip
from cannon_fx.passes.rewrite import rewrite
from cannon_fx.save import WEIGHTS


def load(folder: str | Path, model: nn.Module) -> AppliedPlan:
    """Applies the saved plan to `model`, a fresh network of the same architecture, and loads masks and weights.

    Returns the plan; `model` is changed in place. Raises RunError when the file cannot be read, MappingError
    when the network is another one; then the weights are untouched.
    """
    path = Path(folder) / WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get("cannon")
        weights = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read {path}: {error}. Give a folder that save() or cannon optimize wrote.") from error
    if described is None:
        raise RunError(f"{path} holds dense weights without a plan. Load it with safetensors.torch.load_file.")
    saved = json.loads(described)
    _check_same(model, weights, path)
    inputs = tuple(torch.zeros(i["shape"], dtype=getattr(torch, i["dtype"])) for i in saved["inputs"])
    device = next(model.parameters()).device
    found = plan(
        model,
        tuple(x.to(device) for x in inputs),
        chip=Chip.parse_data(saved["chip"], str(path)),
        targets=list(saved["keep"]),
        batch_dim=None,  # it was one sample that was captured
        **saved["options"],
    )
    if {layer.name for layer in found.layers} != set(saved["keep"]):
        raise MappingError(f"{path} does not fit {type(model).__name__}: other layers can be mapped than were then.")
    applied = AppliedPlan.bind(found, model, rewrite(model, found))
    model.load_state_dict(weights)
    for name, module in applied.modules.items():
        shape = module.pattern.shape
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(saved["keep"][name]), np.uint8), count=shape[0] * shape[1])
        module.cut(torch.from_numpy(bits.astype(bool).reshape(shape)))
    return applied


def _check_same(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    for key in [*own, *weights]:
        here, there = (tuple(t[key].shape) if key in t else None for t in (own, weights))
        if here != there:
            raise MappingError(
                f"{path} does not fit {type(model).__name__}: {key!r} is {there or 'absent'} in the file and "
                f"{here or 'absent'} in the model. Load it into a fresh network of the architecture that was saved."
            )
