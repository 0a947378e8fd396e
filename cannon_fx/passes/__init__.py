"""Passes: each takes a valid plan and returns a valid plan; `run` applies them and checks what they return."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from cannon_fx.plans import Plan


class Pass(Protocol):
    """A frozen dataclass whose fields are its options."""

    def __call__(self, plan: Plan) -> Plan: ...


def run(plan: Plan, passes: Iterable[Pass]) -> Plan:
    """The plan after `passes`."""
    for step in passes:
        plan = step(plan)
        verify(plan, type(step).__name__)
    return plan


def verify(plan: Plan, after: str) -> None:
    """What holds for every plan; a violation is a bug of the pass `after`, not of the user's."""
    numbers = np.concatenate([layer.tile_of.ravel() for layer in plan.layers] or [np.zeros(0, np.int64)])
    tiles = plan.tiles
    assert np.array_equal(np.sort(numbers), np.arange(tiles)), f"{after}: a tile is left out, or holds two layers"
    for layer in plan.layers:
        found = plan.inputs.get(layer.name)
        if found is not None:
            assert (found.home < tiles).all(), f"{after}: {layer.name} takes its input from no tile of the chip"
            assert (found.elements > 0).all(), f"{after}: {layer.name} has empty transfers"
    if plan.placement is not None:
        nodes = plan.placement.node[:-1]
        assert len(np.unique(nodes)) == tiles == len(nodes), f"{after}: two tiles at one place"
