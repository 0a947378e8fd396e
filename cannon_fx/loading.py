"""Loading a sparse network that was saved: the plan first, then masks and weights."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cannon_fx.applied import AppliedPlan
from cannon_fx.compile import plan
from cannon_fx.errors import MappingError, RunError
from cannon_fx.hw.chip import Chip
from cannon_fx.kernels.packed import unpack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.layer import weight_key
from cannon_fx.modules import pattern_of
from cannon_fx.passes.rewrite import rewrite
from cannon_fx.plans import Plan
from cannon_fx.save import PACKED, WEIGHTS
from cannon_fx.saved_plan import SavedPlan


def load(path: str | Path, model: nn.Module) -> AppliedPlan:
    """Applies the saved plan to `model`, a fresh network of the same architecture, and loads masks and weights.

    `path`: a folder that holds weights.safetensors or packed.safetensors (the first, if both), or such a file.
    Returns the plan; `model` is changed in place. Raises RunError when the file cannot be read, MappingError
    when the network is another one; then the weights are untouched.
    """
    file = _file(Path(path))
    saved, weights = _read(file)
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    shapes |= {weight_key(name): tuple(shape) for name, shape in saved.packed.items()}
    _check_same(model, shapes, file)
    found = plan(
        model,
        saved.arguments(next((p.device for p in model.parameters()), torch.device("cpu"))),
        chip=Chip.parse_data(saved.chip, str(file)),
        targets=list(saved.keep),
        **saved.options.model_dump(),
        batch_dim=None,  # it was one sample that was captured
    )
    patterns = _patterns(found, saved, file)
    for name in saved.packed:
        key, pattern = weight_key(name), patterns[name]
        if weights[key].shape[:3] != (pattern.nnz, pattern.out_block, pattern.group_size):
            raise MappingError(f"{file} does not fit: {key!r} holds other blocks than its mask keeps. Save it again.")
        weights[key] = unpack(weights[key], pattern)
    applied = AppliedPlan.bind(found, model, rewrite(model, found))
    model.load_state_dict(weights)
    for name, module in applied.modules.items():
        module.cut(patterns[name].keep)
    return applied


def _file(path: Path) -> Path:
    return next((path / name for name in (WEIGHTS, PACKED) if (path / name).exists()), path)


def _read(file: Path) -> tuple[SavedPlan, dict[str, Tensor]]:
    try:
        with safe_open(file, "pt") as opened:
            described = (opened.metadata() or {}).get("cannon")
        weights = safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read {file}: {error}. Give a folder that save() or cannon optimize wrote.") from error
    if described is None:
        raise RunError(f"{file} holds dense weights without a plan. Load it with safetensors.torch.load_file.")
    return SavedPlan.parse(described, file), weights


def _check_same(model: nn.Module, saved: dict[str, tuple[int, ...]], file: Path) -> None:
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key in [*own, *saved]:
        if own.get(key) != saved.get(key):
            raise MappingError(
                f"{file} does not fit {type(model).__name__}: {key!r} is {saved.get(key) or 'absent'} in the file and "
                f"{own.get(key) or 'absent'} in the model. Load it into a fresh network of the architecture that was "
                "saved."
            )


def _patterns(found: Plan, saved: SavedPlan, file: Path) -> dict[str, BlockPattern]:
    layers = {layer.name: layer for layer in found.layers}
    if layers.keys() != saved.keep.keys():
        first = next(name for name in [*layers, *saved.keep] if name not in layers or name not in saved.keep)
        state = "can be mapped now and could not" if first in layers else "could be mapped then and cannot now"
        raise MappingError(f"{file} does not fit: layer {first!r} {state}. Load it into the network that was saved.")
    return {name: pattern_of(layer, torch.from_numpy(saved.keep_of(layer))) for name, layer in layers.items()}
