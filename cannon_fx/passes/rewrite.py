"""Rewrite: every mapped layer's module becomes block-sparse, in place, with the same parameters."""

from __future__ import annotations

from torch import nn

from cannon_fx.modules import BlockSparse, block_sparse
from cannon_fx.plans import Plan


def rewrite(model: nn.Module, plan: Plan) -> dict[str, BlockSparse]:
    """Returns the modules by layer name. The network computes exactly the same."""
    return {layer.name: block_sparse(model.get_submodule(layer.name), layer) for layer in plan.layers}
