"""How much of a network is on the chip: the share of its weights, and of the products with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cannon_fx.passes.matrix_ops import MATRIX_OPS, weight_of, weight_shape
from cannon_fx.plans import Plan


@dataclass(frozen=True)
class Coverage:
    """Weights count among all parameters of two dimensions or more, multiply-accumulates among all ops with weights."""

    weights: float
    macs: float
    utilisation: float
    """of the tiles' cells, how many hold a weight"""


def coverage(plan: Plan) -> Coverage:
    """Of a plan; products of two activations, as in attention, are no weights and count nowhere."""
    parameters = plan.exported.graph_signature.inputs_to_parameters
    nodes = {layer.node for layer in plan.layers}
    weights = macs = 0
    all_macs = 0
    state = plan.exported.state_dict
    own = {id(state[name]): state[name] for name in parameters.values() if state[name].dim() > 1}  # tied ones once
    all_weights = sum(weight.numel() for weight in own.values())
    for node in plan.exported.graph.nodes:
        if node.target in MATRIX_OPS and weight_of(node).name in parameters:
            shape = weight_shape(node)
            size, positions = math.prod(shape), node.meta["val"].numel() // max(1, shape[0])
            all_macs += size * positions
            if node.name in nodes:
                weights += size
                macs += size * positions
    return Coverage(weights / max(all_weights, 1), macs / max(all_macs, 1), plan.utilisation)
