"""The check of one model: apply_cannon with nothing cut must change nothing that the model computes."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from cannon_fx.capture import evaluating, plain
from cannon_fx.compile import apply_cannon
from cannon_fx.coverage import coverage
from cannon_fx.modules import is_matrix
from cannon_fx.zoo.entry import Entry, tensors_of

TOLERANCE = 1e-5
"""Largest difference of outputs, loss and gradients, relative to their largest value."""

Row = dict[str, Any]


def check(entry: Entry, chip: str, group_size: int = 16) -> Row:
    """The row of one model. Whatever goes wrong stands in `error`; `ok` is True where nothing did."""
    row: Row = {"model": entry.line, "ok": False, "error": None}
    begin = time.perf_counter()
    try:
        row |= _checked(entry, chip, group_size)
        row["ok"] = row["error"] is None
    except Exception as error:  # other people's models may raise anything
        row["error"] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:500]}"
    return row | {"seconds": round(time.perf_counter() - begin, 2)}


def _checked(entry: Entry, chip: str, group_size: int) -> Row:
    model = entry.build()
    _stir(model)
    args, kwargs = entry.arguments(model)
    with evaluating(model), torch.no_grad():
        model(*args, **kwargs)  # some models give their buffers a size when they first run
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    before = _computed(model, args, kwargs, buffers)
    keys = list(model.state_dict())
    matrices = {name for name, module in model.named_modules() if is_matrix(module)}
    begin = time.perf_counter()
    plan = apply_cannon(model, (args, kwargs), chip=chip, group_size=group_size)
    applied = time.perf_counter() - begin
    errors = _differences(before, _computed(model, args, kwargs, buffers))
    missed = matrices - {layer.name for layer in plan.layers} - {u.name for u in plan.unmapped}
    problems = [f"{what} differ by {error:.1e}" for what, error in errors.items() if not error <= TOLERANCE]
    if not plan.layers:
        problems.append("nothing is mapped")
    if list(model.state_dict()) != keys:
        problems.append("the keys of state_dict changed")
    if missed:
        problems.append(f"neither mapped nor listed: {', '.join(sorted(missed))}")
    if not before["loss"][0].isfinite():
        problems.append("its own loss is not finite here, so nothing can be compared")
    cost = plan.cost()
    return {
        "error": "; ".join(problems) or None,
        "layers": len(plan.layers),
        "unmapped": len(plan.unmapped),
        "reasons": dict(Counter(u.reason for u in plan.unmapped)),
        "weights_mapped_share": coverage(plan).weights,
        "tiles": plan.tiles,
        "energy_pj": cost.energy_pj,
        "latency_cycles": cost.latency_cycles,
        "fallback_share": plan.fallback_share,
        "fallback_shares": plan.fallback_shares(),
        "differences": errors,
        "apply_seconds": round(applied, 2),
    }


def _computed(model: nn.Module, args: Any, kwargs: Any, buffers: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """Outputs in eval mode; loss, gradients and buffers after a step in training mode, always from the same state."""
    model.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        outputs = tensors_of(plain(model(*args, **kwargs)))
    model.train()
    torch.manual_seed(1)
    trained = [o for o in tensors_of(plain(model(*args, **kwargs))) if o.is_floating_point() and o.requires_grad]
    generator = torch.Generator().manual_seed(2)
    # Every output element counts, with a weight of its own.
    loss = torch.stack([(o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).mean() for o in trained]).sum()
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    # The model's own: block-sparse layers have buffers besides.
    own = {name: value for name, value in model.named_buffers() if name in buffers}
    after = [value.clone() for value in own.values() if value.is_floating_point()]
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(buffers[name])
    return {
        "outputs": outputs,
        "loss": [loss.detach()],
        "gradients": [g for g in gradients if g is not None],
        "buffers": after,
    }


@torch.no_grad()
def _stir(model: nn.Module) -> None:
    """Parameters that start out constant get some noise: behind a gain of zero, nothing could differ."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.numel() > 1 and bool((parameter == parameter.view(-1)[0]).all()):
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter), alpha=0.02)


def _differences(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> dict[str, float]:
    """Per kind, the largest difference relative to the largest value of that tensor; infinity for other shapes."""
    found = {}
    for kind, tensors in before.items():
        others = after[kind]
        if [t.shape for t in tensors] != [t.shape for t in others]:
            found[kind] = float("inf")
            continue
        found[kind] = max((_difference(a, b) for a, b in zip(tensors, others, strict=True)), default=0.0)
    return found


def _difference(a: Tensor, b: Tensor) -> float:
    if not a.numel() or torch.equal(a, b):
        return 0.0
    if not a.is_floating_point():
        return float("inf")
    same = torch.isnan(a) & torch.isnan(b)  # what the model itself makes NaN may stay so
    a, b = a.masked_fill(same, 0), b.masked_fill(same, 0)
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))
