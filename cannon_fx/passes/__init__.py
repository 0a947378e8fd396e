"""Passes: each takes a valid plan and returns a valid plan; `run` times them and checks what they return."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from cannon_fx.plans import Plan


class Pass(Protocol):
    """A frozen dataclass whose fields are its options."""

    def __call__(self, plan: Plan) -> Plan: ...


def run(plan: Plan, passes: Iterable[Pass]) -> Plan:
    """The plan after `passes`, with the seconds that each took."""
    for step in passes:
        begin = time.perf_counter()
        plan = step(plan)
        plan = plan.timed(type(step).__name__.lower(), time.perf_counter() - begin)
    return plan
