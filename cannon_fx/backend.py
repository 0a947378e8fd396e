"""torch.compile(model, backend="cannon"): block-sparse kernels where they are faster, the rest to another backend.

Nothing is pruned, and semantics never change. A network from `apply_cannon` brings its block-sparse calls with it. In
any other model's inference, calls whose weights hold zero blocks become block-sparse; before every run those blocks are
looked at, and once one is no longer zero, whatever has written it, the graph runs as it came. One thing is not
reproduced: 0 x inf and 0 x nan inside a zero block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch.fx import Graph, GraphModule, Node

from cannon_fx.applied import plan_behind
from cannon_fx.cost import Cost, cost
from cannon_fx.errors import CannonError, MappingError
from cannon_fx.graph_notes import in_words, note_layers
from cannon_fx.graph_plan import graph_plan
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.kernels import ops as ops  # registers the ops that graphs call
from cannon_fx.layouts import BS_CONV2D, contiguous_where_it_matters
from cannon_fx.zero_blocks import Decision, arguments, decide, nonzero_blocks

log = logging.getLogger(__name__)
Compiled = Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """What `torch.compile(..., options={...})` may hold.

    `inner_backend`: the backend that compiles what comes out. `report`: a file to which the decisions of every graph
    are appended. `chip`: a preset's name, a TOML file or a Chip, on which the annotations and the report give what
    layers communicate. `strict`: a weight with zero blocks that has to run dense is an error.
    """

    inner_backend: str = "inductor"
    report: str | Path | None = None
    chip: str | Path | Chip | None = None
    strict: bool = False

    @classmethod
    def of(cls, given: dict[str, Any]) -> Options:
        """Raises MappingError for an option that does not exist or has a value of another type."""
        kinds = get_type_hints(cls)
        for name, value in given.items():
            if name not in kinds:
                raise MappingError(f"backend 'cannon' has no option {name!r}: choose among {sorted(kinds)}.")
            if not isinstance(value, kinds[name]):
                kind = cls.__annotations__[name]
                raise MappingError(f"option {name!r} of backend 'cannon' is {value!r}: it must be {kind}.")
        return cls(**given)


def cannon(
    graph: GraphModule, example_inputs: list[Any], *, mode: str | None = None, options: dict[str, Any] | None = None
) -> Compiled:
    """The backend's entry point, found by torch.compile through the package's `torch_dynamo_backends`."""
    chosen = Options.of(options or {})
    decisions = decide(graph, example_inputs)
    _annotate(graph, example_inputs, decisions, chosen)
    if chosen.strict:
        _check_strict(decisions)
    inner: Compiled = torch._dynamo.lookup_backend(chosen.inner_backend)
    if mode:  # torch.compile takes a mode or options, so this is inductor
        inner = partial(inner, config_patches=torch._inductor.list_mode_options(mode))
    sparse = [decision for decision in decisions if decision.pattern]
    if not sparse:
        return inner(graph, example_inputs)
    return _guarded(inner(_substituted(graph, sparse), example_inputs), graph, inner, sparse)


def _annotate(graph: GraphModule, example_inputs: list[Any], decisions: Sequence[Decision], chosen: Options) -> None:
    """Notes on the layers' calls, and in the report: how they are computed, and what they communicate."""
    applied, chip = plan_behind(example_inputs), Chip.load(chosen.chip) if chosen.chip else None
    found, remarks = None, []
    if applied and chip and chip != applied.chip:
        raise MappingError(
            f"option 'chip' of backend 'cannon' is {chip.name!r}, and apply_cannon has mapped this network for "
            f"{applied.chip.name!r}. Leave the option out, or apply cannon_fx for the other chip to a fresh network."
        )
    if applied and (chip or chosen.report):
        found = applied.cost()
        remarks = [_together(found, "inference")]
    elif chip:
        try:
            plan, keep = graph_plan(graph, example_inputs, chip)
            found = cost(plan, keep)
            remarks = [f"{one.name}: not on the chip: {one.reason}" for one in plan.unmapped]
            remarks.append(_together(found, "call, of the whole batch"))
        except (CannonError, ChipError) as error:  # what cannot be priced still has to run
            remarks = [f"not priced: {error}"]
    notes = note_layers(graph, decisions, applied.modules if applied else {}, found)
    lines = [*map(in_words, notes), *remarks]
    log.debug("%s", "\n".join(lines))
    if chosen.report:
        with Path(chosen.report).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)


def _together(cost: Cost, per: str) -> str:
    return f"together: {cost.energy_pj:,.0f} pJ, {cost.latency_cycles:,.0f} cycles per {per}"


def _check_strict(decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if decision.zeros and not decision.pattern:
            raise MappingError(f"{decision.layer} has zero blocks but runs {decision.why}. Leave out strict=True.")


def _substituted(graph: GraphModule, sparse: Sequence[Decision]) -> GraphModule:
    """A copy of `graph` in which those calls are block-sparse ops, their patterns' lists being buffers."""
    copy = Graph()
    nodes: dict[Node, Node] = {}
    output = copy.graph_copy(graph.graph, nodes)
    copy.output(output)
    result = GraphModule(graph, copy)
    result.meta = dict(graph.meta)
    made = [_substitute(result, nodes[d.node], d, f"cannon_{number}") for number, d in enumerate(sparse)]
    contiguous = [new for new, d in zip(made, sparse, strict=True) if d.node.meta["example_value"].is_contiguous()]
    contiguous_where_it_matters(result, [new for new in contiguous if new.target is BS_CONV2D])
    result.graph.lint()
    result.recompile()
    return result


def _substitute(graph: GraphModule, node: Node, decision: Decision, prefix: str) -> Node:
    call, pattern, fake = arguments(node), decision.pattern, decision.node.meta["example_value"]
    assert pattern is not None
    lists = pattern.lists(fake.device)
    sizes = (pattern.out_channels, pattern.in_channels, pattern.out_block, pattern.group_size)
    x, weight, bias = call["input"], call["weight"], call["bias"]
    with graph.graph.inserting_before(node):
        tensors = []
        for name in ("row_start", "row_group", "block_of"):
            graph.register_buffer(f"{prefix}_{name}", getattr(lists, name), persistent=False)
            tensors.append(graph.graph.get_attr(f"{prefix}_{name}"))
        if node.target is torch.conv2d:
            taps = tuple(weight.meta["example_value"].shape[2:])
            window = [_pair(call[name]) for name in ("stride", "padding", "dilation")]
            rest = (*tensors, sizes, taps, *window, call["groups"], "none")
            new = graph.graph.call_function(BS_CONV2D, (x, weight, bias, *rest))
        else:
            rows = graph.graph.call_method("reshape", (x, -1, pattern.in_channels))
            flat = graph.graph.call_function(
                torch.ops.cannon.bs_linear.default, (rows, weight, bias, *tensors, sizes, "none")
            )
            lead = [graph.graph.call_method("size", (x, d)) for d in range(fake.dim() - 1)]
            new = graph.graph.call_method("reshape", (flat, *lead, pattern.out_channels))
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _guarded(compiled: Compiled, graph: GraphModule, inner: Compiled, sparse: Sequence[Decision]) -> Compiled:
    """`compiled` as long as the zero blocks are zero, else `graph` as it came."""
    order = {node: k for k, node in enumerate(n for n in graph.graph.nodes if n.op == "placeholder")}
    cut = [
        (order[arguments(d.node)["weight"]], d.pattern, (~d.pattern.keep).to(d.node.meta["example_value"].device))
        for d in sparse
        if d.pattern
    ]
    dense = torch.compile(graph, backend=inner)  # compiled when first needed

    def run(*inputs: Any) -> Any:
        with torch.no_grad():
            zero = [not (nonzero_blocks(inputs[k], p.out_block, p.group_size) & mask).any() for k, p, mask in cut]
        if all(zero):
            return compiled(*inputs)
        log.info(
            "blocks that were zero when %s was compiled are not any more: it runs dense.", graph.__class__.__name__
        )
        return dense(*inputs)

    return run
