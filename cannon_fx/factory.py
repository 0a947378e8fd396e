"""Loading a user's model, "package.module:factory", called without arguments; and weights for it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import safetensors.torch
import torch
from torch import nn

from cannon_fx.errors import RunError


def import_here(name: str) -> ModuleType:
    """A module by name; those in the current folder are found too."""
    if str(Path.cwd()) not in sys.path:  # a console script, unlike python -m, does not look there
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def load_model(spec: str) -> nn.Module:
    """The module that `spec`'s factory returns; modules in the current folder are found too. Raises RunError."""
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise RunError(f"model {spec!r} is not of the form package.module:factory, e.g. mynets.resnet:resnet20.")
    try:
        factory = getattr(import_here(module_name), attribute)
        model = factory()
    except Exception as error:  # a user's module may raise anything
        raise RunError(
            f"model {spec!r} cannot be made: {type(error).__name__}: {error}. Check that "
            f"`from {module_name} import {attribute}` works here and that {attribute}() needs no arguments."
        ) from error
    if not isinstance(model, nn.Module):
        raise RunError(f"model {spec!r} gave a {type(model).__name__}; its factory must return a torch.nn.Module.")
    return model


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a state_dict, .safetensors or what torch.save wrote, strictly into `model`. Raises RunError."""
    path = Path(path).expanduser()
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # a damaged file, or one of another network, fails in many ways
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"the weights {str(path)!r} cannot be loaded into {type(model).__name__}: {reason}. Give a state_dict of "
            "this network, as .safetensors or written by torch.save."
        ) from error
