"""A copy of a network that computes as its chip does."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from cannon_fx.errors import MappingError
from cannon_fx.inputs import arguments_of
from cannon_fx.modules import BlockSparse, block_sparse
from cannon_fx.plans import Keep, Plan
from cannon_fx.quantise.layers import ChipLayer, weight_codes


def quantised(model: nn.Module, plan: Plan, calibration: Any, keep: Keep | None = None) -> nn.Module:
    """A copy of `model`, in eval mode, whose mapped layers compute with the integers of the plan's chip.

    Weights get `weight_bits`, with a scale for each output channel; inputs of layers `activation_bits`. The sums of
    each crossbar's columns pass the chip's ADCs, if it has a [compute] section. `calibration` is a batch of train
    samples, given like `example_inputs` of `plan`; it sets the ranges of activations and the levels of the ADCs.
    `keep`: the kept connections, if they are not those of the plan.

    What is not mapped, and what lies between layers, computes as before; so does the input of a layer whose weight
    another module reads. `model` stays as it is. Raises MappingError for weights of one bit, which have no sign.
    """
    if plan.chip.precision.weight_bits < 2:
        raise MappingError(
            f"chip {plan.chip.name!r} has weights of 1 bit, which have no sign: give it at least 2 bits."
        )
    found, kept = copy.deepcopy(model).eval(), plan.keep() if keep is None else keep
    for layer in plan.layers:
        old = found.get_submodule(layer.name)
        twin = old if isinstance(old, BlockSparse) else block_sparse(old, layer)
        if layer.called:
            chip_layer = ChipLayer(twin, layer, plan.chip, kept[layer.name])
            if not layer.name:  # the model is one layer
                found = chip_layer.eval()
            else:
                found.set_submodule(layer.name, chip_layer)
        else:
            _round_weight_(twin, plan.chip.precision.weight_bits)
    args, kwargs = arguments_of(calibration)
    with torch.no_grad():
        found(*args, **kwargs)
    return found


@torch.no_grad()
def _round_weight_(module: BlockSparse, bits: int) -> None:
    """To the numbers that the layer's cells can hold."""
    matrix = module.matrix(module.weight)
    codes, scale = weight_codes(matrix, bits)
    matrix.copy_(codes * scale.view(-1, *[1] * (codes.dim() - 1)))
