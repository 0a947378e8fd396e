"""The compiler's two verbs: `plan` reads a model, `apply_cannon` also rewrites its layers in place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from cannon_fx.applied import AppliedPlan
from cannon_fx.capture import capture
from cannon_fx.dynamic import capture_dynamic
from cannon_fx.hw.chip import Chip
from cannon_fx.passes import run
from cannon_fx.passes.homes import Homes
from cannon_fx.passes.partition import Partition
from cannon_fx.passes.place import Place, PlacementOrder
from cannon_fx.passes.rewrite import rewrite
from cannon_fx.plans import Plan
from cannon_fx.wrappers import unwrapped

log = logging.getLogger(__name__)


def plan(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    chip: str | Path | Chip = "siam-32nm",
    targets: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    group_size: int = 16,
    order: PlacementOrder = "snake",
    seed: int = 0,
    batch_dim: int | None = 0,
    dynamic_shapes: Any = None,
) -> Plan:
    """What `model` would cost on `chip`, and where; reads only.

    `example_inputs`: a tensor, a tuple of positional arguments, a dict of keyword arguments, or both as (tuple, dict).
    `batch_dim`: the dimension of the batch in them, of which one sample is used; None for inputs of one inference.
    `chip`: a preset's name, the path of a TOML file, or a Chip. `targets` and `ignore` choose layers by name,
    glob, class name or "re:…". `order` places the tiles: along a curve, or optimised for the plan's own traffic with
    every connection kept ("annealed" is the best), where `seed` counts. `dynamic_shapes`, as for torch.export, leaves
    sizes open (batch, sequence length): the plan is that of the example, and the costs in `plan.graph_module` are
    formulas. Raises CaptureError, MappingError, ChipError.
    """
    model, dynamic = unwrapped(model), None
    if dynamic_shapes is not None:
        dynamic = capture_dynamic(model, example_inputs, batch_dim, dynamic_shapes)
    found = mapped(
        model,
        dynamic.at(dynamic.example) if dynamic else capture(model, example_inputs, batch_dim),
        Chip.load(chip),
        targets=targets,
        ignore=ignore,
        group_size=group_size,
        order=order,
        seed=seed,
    )
    return replace(found, dynamic=dynamic)


def mapped(
    model: nn.Module,
    exported: ExportedProgram,
    chip: Chip,
    *,
    targets: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    group_size: int = 16,
    order: PlacementOrder = "snake",
    seed: int = 0,
) -> Plan:
    """The plan of a captured model; arguments as for `plan`. To try many chips, a model is captured once."""
    return run(
        Plan(chip=chip, exported=exported, options={"group_size": group_size, "order": order, "seed": seed}),
        [
            Partition(model, group_size, None if targets is None else tuple(targets), tuple(ignore)),
            Homes(),
            Place(order, seed),
        ],
    )


def apply_cannon(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    chip: str | Path | Chip = "siam-32nm",
    targets: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    group_size: int = 16,
    order: PlacementOrder = "snake",
    seed: int = 0,
    batch_dim: int | None = 0,
    dynamic_shapes: Any = None,
) -> AppliedPlan:
    """Maps `model` and replaces its mapped layers by block-sparse ones, in place; arguments as for `plan`.

    A model that torch.compile or DistributedDataParallel has wrapped is rewritten inside the wrapper.

    Nothing is cut yet: the network computes exactly the same, with the same parameters under the same names. Where
    nothing can be mapped, it stays as it is, and a warning is logged.
    """
    model = unwrapped(model)
    found = plan(
        model,
        example_inputs,
        chip=chip,
        targets=targets,
        ignore=ignore,
        group_size=group_size,
        order=order,
        seed=seed,
        batch_dim=batch_dim,
        dynamic_shapes=dynamic_shapes,
    )
    if not found.layers:
        reasons = "; ".join(f"{u.name}: {u.reason}" for u in found.unmapped)
        log.warning("nothing of %s is mapped: %s.", type(model).__name__, reasons or "it has no linear or conv2d layer")
    return AppliedPlan.bind(found, model, rewrite(model, found))
