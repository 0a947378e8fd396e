"""Example inputs: the arguments of one call of a model, and one sample of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from cannon_fx.errors import CaptureError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


def arguments_of(example_inputs: Any) -> Arguments:
    """The arguments that a tensor, a tuple or list, a dict of keywords, or both as (tuple, dict) stand for."""
    if isinstance(example_inputs, dict):
        return (), example_inputs
    if not isinstance(example_inputs, (tuple, list)):
        return (example_inputs,), {}
    if len(example_inputs) == 2 and isinstance(example_inputs[0], tuple) and isinstance(example_inputs[1], dict):
        return example_inputs[0], example_inputs[1]
    return tuple(example_inputs), {}


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


def samples_of(example_inputs: Any, batch_dim: int | None = 0, samples: int = 1) -> Arguments:
    """The arguments, with every tensor in them narrowed to its first sample, so many times: costs are per inference.

    The first tensor's size along `batch_dim` is the batch. A tensor of another size there (a mask, positions) belongs
    to every sample and stays whole, as all do if `batch_dim` is None. Raises CaptureError if there is no sample.
    """
    arguments = arguments_of(example_inputs)
    first = next((leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)), None)
    if first is None or batch_dim is None:
        return arguments
    if not _has(first, batch_dim) or first.shape[batch_dim] == 0:
        raise CaptureError(
            f"an example input has shape {list(first.shape)}: dimension {batch_dim} must be the batch and not empty. "
            "Pass at least one sample, e.g. torch.randn(1, 3, 32, 32); name another dimension by batch_dim; or say "
            "batch_dim=None, and the inputs are taken as they are, for one inference."
        )
    batch = first.shape[batch_dim]

    def narrow(tensor: Tensor) -> Tensor:
        ours = _has(tensor, batch_dim) and tensor.shape[batch_dim] == batch
        return torch.cat([tensor.narrow(batch_dim, 0, 1)] * samples, batch_dim) if ours else tensor

    return tree_map_only(Tensor, narrow, arguments)


def _has(tensor: Tensor, dimension: int) -> bool:
    return -tensor.dim() <= dimension < tensor.dim()
