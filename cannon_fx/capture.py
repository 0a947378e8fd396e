"""Capture: one torch.export of the model in eval mode, for analysis only; the model itself is left as it was."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from cannon_fx.errors import CaptureError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; each module's own mode comes back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _quietly() -> Iterator[None]:
    """On failure torch.export prints and logs the whole graph so far; the error raised here says it in a sentence."""
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def arguments_of(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments: of a tensor, a tuple or list, a dict of keywords, or both as (tuple, dict)."""
    if isinstance(example_inputs, dict):
        return (), example_inputs
    if not isinstance(example_inputs, (tuple, list)):
        return (example_inputs,), {}
    if len(example_inputs) == 2 and isinstance(example_inputs[0], tuple) and isinstance(example_inputs[1], dict):
        return example_inputs[0], example_inputs[1]
    return tuple(example_inputs), {}


def one_sample(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with every tensor in them narrowed to its first sample: costs are per inference."""

    def narrow(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [narrow(v) for v in value] if isinstance(value, list) else tuple(narrow(v) for v in value)
        if isinstance(value, dict):
            return {key: narrow(item) for key, item in value.items()}
        if not isinstance(value, Tensor):
            return value
        if value.dim() == 0 or value.shape[0] == 0:
            raise CaptureError(
                f"an example input has shape {list(value.shape)}: dimension 0 must be the batch and not empty. "
                "Pass at least one sample, e.g. torch.randn(1, 3, 32, 32)."
            )
        return value[:1]

    args, kwargs = arguments_of(example_inputs)
    return narrow(args), narrow(kwargs)


def _hint(error: Exception) -> str:
    """What to do about an error of torch.export."""
    text = str(error)
    if "Cache" in text and "pytree" in text.lower():
        return "It returns a cache: capture it without one, with use_cache=False among its keyword inputs."
    if "GuardOnDataDependent" in type(error).__name__ or "data-dependent" in text.lower():
        return (
            "Its control flow depends on tensor values: apply cannon_fx to the sub-modules around that decision, or "
            "write it with torch.cond."
        )
    return "Check that it runs with these inputs, and that its control flow does not depend on tensor values."


def default_inputs(model: nn.Module) -> tuple[Tensor, ...]:
    """An input guessed from the first layer, where its shape alone decides. Raises CaptureError where it does not."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            return (torch.zeros(1, module.in_features, dtype=module.weight.dtype, device=module.weight.device),)
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            raise CaptureError(
                f"the input size cannot be told from the first layer, {name!r} ({type(module).__name__} with "
                f"{module.in_channels} channels). Pass example_inputs, e.g. "
                f"torch.randn(1, {module.in_channels}, {', '.join(['32'] * len(module.kernel_size))})."
            )
    raise CaptureError(
        f"{type(model).__name__} holds no linear or convolution layer to guess an input from. Pass example_inputs."
    )


def capture(model: nn.Module, example_inputs: Any = None) -> ExportedProgram:
    """The model's graph for one sample. Raises CaptureError when it cannot run or cannot be exported."""
    args, kwargs = one_sample(default_inputs(model) if example_inputs is None else example_inputs)
    named = [("an input", value) for value in args] + list(kwargs.items())
    shapes = ", ".join(
        f"{name} of shape {list(value.shape)}" if isinstance(value, Tensor) else f"{name} = {value!r:.40}"
        for name, value in named
    )
    with evaluating(model), _quietly():
        try:
            return torch.export.export(model, args, kwargs, strict=False)
        except Exception as error:  # export and the model's own forward may raise anything
            reason = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(". ")
            raise CaptureError(
                f"{type(model).__name__} cannot be captured with {shapes or 'no inputs'}: "
                f"{type(error).__name__}: {reason}. {_hint(error)}"
            ) from error
