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


def one_sample(example_inputs: Any) -> tuple[Any, ...]:
    """Positional arguments with every tensor in them narrowed to its first sample: costs are per inference."""

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

    return narrow(tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,))


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
    arguments = one_sample(default_inputs(model) if example_inputs is None else example_inputs)
    shapes = ", ".join(
        f"an input of shape {list(a.shape)}" if isinstance(a, Tensor) else type(a).__name__ for a in arguments
    )
    with evaluating(model), _quietly():
        try:
            return torch.export.export(model, arguments, strict=False)
        except Exception as error:  # export and the model's own forward may raise anything
            reason = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(". ")
            raise CaptureError(
                f"{type(model).__name__} cannot be captured with {shapes or 'no inputs'}: "
                f"{type(error).__name__}: {reason}. Check that model(*example_inputs) runs and that its "
                "control flow does not depend on tensor values (see torch.export)."
            ) from error
