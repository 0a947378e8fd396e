"""Place: tiles onto the routers of the mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cannon_fx.hw.placement import Order, place
from cannon_fx.plans import Plan


@dataclass(frozen=True)
class Place:
    """Tiles in layer order along `order`. Raises ChipError when the chip has too few tiles."""

    order: Order = "snake"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, placement=place(plan.chip, plan.tiles, self.order))
