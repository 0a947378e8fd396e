"""torch.compile(model, backend="cannon"): the graph as it is, handed to a compiler that runs it.

Nothing is pruned or reordered here, so semantics never change. A network from `apply_cannon` runs its masked
weights through the same compiler. Options: `inner_backend`, any backend of torch.compile ("inductor").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule

from cannon_fx.errors import MappingError

OPTIONS = {"inner_backend"}


def cannon(
    graph: GraphModule, example_inputs: list[Any], *, options: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """The backend's entry point, found by torch.compile through the package's `torch_dynamo_backends`."""
    chosen = options or {}
    if unknown := set(chosen) - OPTIONS:
        raise MappingError(f"backend 'cannon' has no option {sorted(unknown)[0]!r}: choose among {sorted(OPTIONS)}.")
    inner = torch._dynamo.lookup_backend(chosen.get("inner_backend", "inductor"))
    compiled: Callable[..., Any] = inner(graph, example_inputs)
    return compiled
