"""Partition: every linear and convolution of the graph becomes a layer over tiles, or is listed with a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.fx import Node

from cannon_fx.errors import MappingError
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.network_spec import MOST_NODES
from cannon_fx.layer import Layer, weight_key
from cannon_fx.modules import BlockSparse, BlockSparseTransposed, is_matrix, twin_of
from cannon_fx.passes.matrix_ops import MATRIX_OPS, weight_of, weight_shape
from cannon_fx.patterns import select
from cannon_fx.plans import Plan, Unmapped

aten = torch.ops.aten

_BARE = "it is multiplied outside of any linear or convolution module"
_STEPS = "a recurrent layer, whose weights are used at every step"
OTHER_WEIGHT_OPS: dict[object, str] = {
    **dict.fromkeys((aten.matmul.default, aten.mm.default, aten.bmm.default, aten.einsum.default), _BARE),
    **dict.fromkeys((aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input), _STEPS),
    aten.embedding.default: "an embedding, whose rows are looked up and not multiplied",
}
"""Ops that also multiply by weights, or read them, when an operand is a parameter; and why that is not mapped."""

UNRUN = "does not run in eval mode"


@dataclass(frozen=True)
class Site:
    """One place in the graph that multiplies by a weight matrix.

    `name`: the linear or convolution module that runs here, else the one that owns the weight, else the weight's
    own name. `weight`: the parameter's name; None if it is computed. `runs`: the innermost module that was running.
    """

    node: Node
    name: str
    weight: str | None
    runs: str

    @classmethod
    def of(cls, node: Node, plan: Plan, modules: dict[str, nn.Module]) -> Site:
        operand = weight_of(node)
        parameters = plan.exported.graph_signature.inputs_to_parameters
        weight = parameters.get(operand.name)
        runs = _runs(node)
        owner = weight.rpartition(".")[0] if weight else ""
        matrices = [name for name in (runs, owner) if is_matrix(modules.get(name))]
        return cls(node, matrices[0] if matrices else weight or f"(graph node {node.name})", weight, runs)


def obstacle(site: Site, modules: dict[str, nn.Module], plan: Plan) -> str | None:
    """Why this op stays off the crossbars; None if it can be mapped."""
    kind, module = MATRIX_OPS[site.node.target].kind, modules.get(site.name)
    if module is None:
        return "its weight belongs to no linear or convolution module of its own"
    if kind not in ("linear", "conv2d"):
        return f"{kind} is not mapped; only linear and conv2d are"
    if site.node.target is aten.addmm.default and site.node.kwargs:
        return "it scales its operands"
    if nn.utils.parametrize.is_parametrized(module):
        return "its weight is parametrised"
    if site.weight is None:
        return "its weight is computed"
    twin = twin_of(type(module))
    if twin is None:
        return f"{type(module).__module__}.{type(module).__name__} is not exactly nn.Linear or nn.Conv2d"
    if site.weight != weight_key(site.name):
        return f"it multiplies by {site.weight}, not by its own weight"
    if issubclass(twin, BlockSparseTransposed) != (site.node.target is aten.addmm.default):
        return "its weight is read transposed"
    if site.runs != site.name and kind != "linear":  # a linear layer is its weight, a convolution more than that
        return "its weight is read outside its own module"
    if isinstance(module, nn.Conv2d):
        if site.node.meta["val"].dim() != 4:
            return "its input has no batch dimension"
        if module.groups > 1:
            return f"grouped convolution ({module.groups} groups)"
        taps = module.kernel_size[0] * module.kernel_size[1]
        if taps > plan.chip.tile_rows:
            return f"its {taps} taps do not fit the {plan.chip.tile_rows} rows of a tile"
    return None


@dataclass(frozen=True)
class Partition:
    """Splits each layer by the chip's tile capacity.

    A tile holds all taps of a channel, and whole channel groups: channels per row block =
    floor(tile_rows / taps), rounded down to whole groups. Where not even one group fits, the group shrinks
    to the channels that do. A network where nothing can be mapped has a plan without layers. Raises MappingError when
    a pattern matches nothing, or none of the targets can be mapped.
    """

    model: nn.Module
    group_size: int = 16
    targets: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise MappingError(f"group_size is {self.group_size}: give a positive number of input channels.")

    def __call__(self, plan: Plan) -> Plan:
        if any(isinstance(module, BlockSparse) for module in self.model.modules()):
            raise MappingError(
                f"{type(self.model).__name__} already holds block-sparse layers. Use the result of the first "
                "apply_cannon, or start from a fresh model."
            )
        modules = dict(self.model.named_modules())
        parameters = plan.exported.graph_signature.inputs_to_parameters
        sites = [
            Site.of(node, plan, modules)
            for node in plan.exported.graph.nodes
            # addmm may also multiply two activations.
            if node.target in MATRIX_OPS
            and not (node.target is aten.addmm.default and weight_of(node).name not in parameters)
        ]
        tied = _tied(self.model)
        classes = {
            site.name: type(modules[site.name]).__name__ if site.name in modules else MATRIX_OPS[site.node.target].kind
            for site in sites
        }
        chosen = set(classes) if self.targets is None else select(self.targets, classes, "targets")
        ignored = select(self.ignore, classes, "ignore")

        layers: list[Layer] = []
        unmapped: list[Unmapped] = []
        first_tile = 0
        for name in classes:
            same = [site for site in sites if site.name == name]
            if name in ignored:
                reason: str | None = "ignored on request"
            elif name not in chosen:
                reason = "not among the targets"
            elif others := tied.get(weight_key(name)):
                reason = f"its weight is also {' and '.join(others)}"
            elif len(same) > 1 or (same[0].weight and len(weight_of(same[0].node).users) > 1):
                reason = "its weight is used more than once"
            else:
                reason = obstacle(same[0], modules, plan)
            if reason:
                unmapped.append(Unmapped(name, reason))
                continue
            layers.append(self._split(same[0], first_tile, plan))
            first_tile += layers[-1].tiles
        ran = {_runs(node) for node in plan.exported.graph.nodes}
        unmapped += [
            Unmapped(name, f"{type(module).__name__} multiplies in a way of its own" if name in ran else UNRUN)
            for name, module in modules.items()
            if is_matrix(module) and name and name not in classes
        ]
        unmapped += [
            Unmapped(_own_name(parameters[operand.name], tied, node), OTHER_WEIGHT_OPS[node.target])
            for node in plan.exported.graph.nodes
            if node.target in OTHER_WEIGHT_OPS
            for operand in node.all_input_nodes
            if operand.name in parameters and operand.meta["val"].dim() > 1
        ]
        if self.targets and not layers:
            raise MappingError(
                f"none of the targets {', '.join(self.targets)} can be mapped onto the chip: "
                + "; ".join(f"{u.name}: {u.reason}" for u in unmapped if u.name in chosen)
                + ". Name layers that can, or leave targets out to see what is left."
            )
        if first_tile > MOST_NODES:  # refused before anything is as large as they are
            raise MappingError(
                f"{type(self.model).__name__} takes {first_tile:,} tiles of chip {plan.chip.name!r}; at most "
                f"{MOST_NODES:,} can be placed. Take a chip with larger tiles, or map fewer layers."
            )
        return replace(plan, layers=tuple(layers), unmapped=tuple(unmapped))

    def _split(self, site: Site, first_tile: int, plan: Plan) -> Layer:
        node = site.node
        kind: Literal["linear", "conv2d"] = "linear" if MATRIX_OPS[node.target].kind == "linear" else "conv2d"
        shape = weight_shape(node)
        output = node.meta["val"]
        return Layer(
            name=site.name,
            kind=kind,
            node=node.name,
            weight_shape=shape,
            positions=output.numel() // shape[0],
            **blocks(shape, plan.chip, self.group_size),
            first_tile=first_tile,
            called=site.runs == site.name,
        )


def blocks(weight_shape: tuple[int, ...], chip: Chip, group_size: int) -> dict[str, int]:
    """How a weight is split over tiles: a layer's group_size, row_channels and out_block."""
    fits = min(chip.tile_rows // max(1, math.prod(weight_shape[2:])), weight_shape[1])
    size = min(group_size, fits)
    return {
        "group_size": size,
        "row_channels": fits if fits == weight_shape[1] else fits // size * size,
        "out_block": min(chip.tile_columns, weight_shape[0]),
    }


def _runs(node: Node) -> str:
    """The name of the innermost module that was running; the n-th run of a module is called module@n."""
    stack = node.meta.get("nn_module_stack") or {}
    return next(reversed(stack.values()))[0].split("@")[0] if stack else ""


def _own_name(parameter: str, tied: dict[str, list[str]], node: Node) -> str:
    """Of a parameter's names, the one in the module that runs here."""
    names = [parameter, *tied.get(parameter, [])]
    return next((name for name in names if name.rpartition(".")[0] == _runs(node)), parameter)


def _tied(model: nn.Module) -> dict[str, list[str]]:
    """Per name of a parameter that has several, the others."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name: [other for other in same if other != name] for same in names.values() for name in same}
