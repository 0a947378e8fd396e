"""Capture: one torch.export of the model in eval mode, for analysis only; the model itself is left as it was."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map, tree_map_only

from cannon_fx.errors import CaptureError
from cannon_fx.inputs import Arguments, default_inputs, samples_of


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


def plain(outputs: Any, depth: int = 4) -> Any:
    """`outputs` with every object of a class that pytree does not know as a dict of its attributes.

    Models return such objects, as the decoders of transformers do their caches, and torch.export refuses them.
    """

    def opened(leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, (Tensor, bool, int, float, complex, str)):
            return leaf
        attributes = getattr(leaf, "__dict__", None) if depth else None
        return {name: plain(value, depth - 1) for name, value in attributes.items()} if attributes else None

    return tree_map(opened, outputs)


@contextmanager
def _plain_outputs(model: nn.Module) -> Iterator[None]:
    """Inside, the model's outputs are plain. The model is not wrapped, so its parameters keep their names."""
    forward, own = model.forward, vars(model).get("forward")

    @wraps(forward)  # dynamic shapes go by the names of its arguments
    def opened(*args: Any, **kwargs: Any) -> Any:
        return plain(forward(*args, **kwargs))

    object.__setattr__(model, "forward", opened)
    try:
        yield
    finally:
        object.__delattr__(model, "forward")
        if own is not None:
            object.__setattr__(model, "forward", own)


def check_parameters(model: nn.Module) -> None:
    """Raises CaptureError for parameters that cannot be captured."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise CaptureError(
                f"parameter {name!r} of {type(model).__name__} has no shape yet, since its module is lazy. Call "
                "model(*example_inputs) once before."
            )
        if hasattr(parameter, "device_mesh"):  # a DTensor; importing its class takes long
            raise CaptureError(
                f"parameter {name!r} of {type(model).__name__} is sharded over devices. Map the model first, and call "
                "fully_shard or parallelize_module afterwards."
            )


def _hint(error: Exception) -> str:
    """What to do about an error of torch.export."""
    if "Constraints violated" in str(error):
        return "Leave that size out of dynamic_shapes, or take the one that torch.export suggests."
    if "GuardOnDataDependent" in type(error).__name__ or "data-dependent" in str(error).lower():
        return (
            "Its control flow depends on tensor values: apply cannon_fx to the sub-modules around that decision, or "
            "write it with torch.cond."
        )
    return "Check that it runs with these inputs, and that its control flow does not depend on tensor values."


def _listed(arguments: Arguments) -> str:
    args, kwargs = arguments
    named = [("an input", value) for value in args] + list(kwargs.items())
    return ", ".join(
        f"{name} of shape {list(value.shape)}" if isinstance(value, Tensor) else f"{name} = {value!r:.40}"
        for name, value in named
    )


def arguments_for(model: nn.Module, example_inputs: Any, batch_dim: int | None, samples: int = 1) -> Arguments:
    """What to call `model` with for so many samples; on the device of its parameters, where all are on one.

    So a model on `meta` needs no memory. Raises CaptureError.
    """
    given = default_inputs(model) if example_inputs is None else example_inputs
    arguments = samples_of(given, batch_dim, samples)
    if len(devices := {parameter.device for parameter in model.parameters()}) == 1:
        arguments = tree_map_only(Tensor, lambda tensor: tensor.to(*devices), arguments)
    return arguments


def export(model: nn.Module, arguments: Arguments, dynamic_shapes: Any = None) -> ExportedProgram:
    """The model's graph in eval mode. Raises CaptureError when it cannot run or cannot be exported."""
    with evaluating(model), _plain_outputs(model), _quietly():
        try:
            return torch.export.export(model, *arguments, strict=False, dynamic_shapes=dynamic_shapes)
        except Exception as error:  # export and the model's own forward may raise anything
            lines = str(error).strip().splitlines() or ["no reason given"]
            wishes = [line.strip(" -") for line in lines if line.startswith("  - ")]  # about dynamic shapes
            reason = (wishes or lines)[0].rstrip(". ")
            raise CaptureError(
                f"{type(model).__name__} cannot be captured with {_listed(arguments) or 'no inputs'}: "
                f"{type(error).__name__}: {reason}. {_hint(error)}"
            ) from error


def capture(model: nn.Module, example_inputs: Any = None, batch_dim: int | None = 0) -> ExportedProgram:
    """The model's graph for one sample of the inputs; both as in `cannon_fx.plan`. Raises CaptureError."""
    check_parameters(model)
    return export(model, arguments_for(model, example_inputs, batch_dim))
