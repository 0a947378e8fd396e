"""A plan in the terms of other tools: its traffic as packets, its layers as rows of their tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch.fx import Node

from cannon_fx.applied import AppliedPlan
from cannon_fx.cost import all_transfers
from cannon_fx.exports import TRAFFIC_FORMATS, Files, Phase, Traffic
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.layer_shape import LayerShape
from cannon_fx.hw.exchange.network_csv import to_network_csv
from cannon_fx.hw.exchange.scale_sim import to_scale_sim
from cannon_fx.hw.exchange.siam import to_siam_layers
from cannon_fx.hw.fabric import spec_of
from cannon_fx.hw.traffic import Packets
from cannon_fx.plans import Plan


def traffic_of(plan: Plan) -> Traffic:
    """The packets of one inference, phase by phase; a phase starts when the analytic model has the one before end.

    What several tiles need is sent to each, also on a chip that multicasts: no other tool's format has trees.
    """
    plan = left_of(plan)
    transfers, phases = all_transfers(plan, plan.keep())
    latency = np.ceil(plan.cost().communication.latency_cycles).astype(np.int64)
    starts = np.cumsum(latency) - latency
    noc, placement = plan.chip.noc, plan.placed()
    node, flits = placement.node, transfers.flits(noc.flit_bits)
    found = []
    for number, phase in enumerate(phases):
        of = transfers.phase == number
        source, target = node[transfers.source[of]], node[transfers.target[of]]
        packets = Packets.of_flows(source, target, flits[of], noc.packet_flits)
        found.append(Phase(f"{phase.name}: {phase.kind.replace('_', ' ')}", int(starts[number]), packets))
    spec = spec_of(plan.chip, plan.tiles)
    return Traffic(tuple(found), placement.network, spec, noc.router, noc.flit_bits, noc.clock_ghz)


def left_of(plan: Plan) -> Plan:
    """Of a plan that is applied, what is left, remapped; any other plan is whole."""
    return plan.remapped() if isinstance(plan, AppliedPlan) else plan


def _of_traffic(write: Callable[[Traffic], Files]) -> Callable[[Plan], Files]:
    return lambda plan: write(traffic_of(plan))


def layer_shapes(plan: Plan) -> list[LayerShape]:
    """The mapped layers as rows of a layer table; a linear layer on P positions is a 1x1 convolution over P x 1."""
    nodes = {node.name: node for node in plan.exported.graph.nodes}
    pooled = _pooled(plan)
    shapes = []
    for number, layer in enumerate(plan.layers):
        node = nodes[layer.node]
        height, width, kernel, stride = layer.positions, 1, (1, 1), 1
        if layer.kind == "conv2d":
            height, width = node.all_input_nodes[0].meta["val"].shape[2:]
            kernel = node.args[1].meta["val"].shape[2:]
            stride = node.args[3][0] if len(node.args) > 3 else 1
        shapes.append(
            LayerShape(
                height=height,
                width=width,
                in_channels=layer.in_channels,
                kernel_height=kernel[0],
                kernel_width=kernel[1],
                out_channels=layer.out_channels,
                pool=number in pooled,
                stride=stride,
                name=layer.name,
            )
        )
    return shapes


def _pooled(plan: Plan) -> set[int]:
    """The layers that pooling follows: of all that reach a pooling op, the latest."""
    number = {layer.node: k for k, layer in enumerate(plan.layers)}
    latest: dict[Node, int] = {}
    found = set()
    for node in plan.exported.graph.nodes:
        before = max((latest[operand] for operand in node.all_input_nodes), default=-1)
        latest[node] = number.get(node.name, before)
        if "pool" in str(node.target):
            found.add(before)
    return found


def siam_tables(plan: Plan) -> dict[str, str]:
    """SIAM's tables; inferences per second as the communication alone would allow, by the analytic model."""
    plan = left_of(plan)
    shapes = layer_shapes(plan)
    activations = [shape.height * shape.width * shape.in_channels for shape in shapes]
    cycles = plan.cost().latency_cycles
    if not cycles:
        raise ChipError(
            "nothing moves on the chip, so there is no rate for SIAM's fps.csv. Choose another format, or map layers."
        )
    return to_siam_layers([layer.tiles for layer in plan.layers], activations, plan.chip.noc.clock_ghz * 1e9 / cycles)


PLAN_FORMATS: Mapping[str, Callable[[Plan], Files]] = {
    **{name: _of_traffic(write) for name, write in TRAFFIC_FORMATS.items()},
    "siam-layers": siam_tables,
    "neurosim-csv": lambda plan: to_network_csv(layer_shapes(left_of(plan)), "neurosim"),
    "siam-csv": lambda plan: to_network_csv(layer_shapes(left_of(plan)), "siam"),
    "scale-sim": lambda plan: to_scale_sim(layer_shapes(left_of(plan))),
}
