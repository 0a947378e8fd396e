"""What the user asks for: "energy/3", "latency/2", "edp/6", or absolute: "energy=120000" (pJ, cycles, pJ·cycles)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from cannon_fx.cost import Sums, Totals
from cannon_fx.errors import InfeasibleError

Metric = Literal["energy", "latency", "edp"]
UNIT: dict[str, str] = {"energy": "pJ", "latency": "cycles", "edp": "pJ·cycles"}


def factors(metric: Metric, totals: Totals | Sums) -> tuple[float, ...]:
    """What the metric is a product of: sums over phases, in pJ and cycles. Nothing else is computed."""
    names = {"energy": ("energy_pj",), "latency": ("latency_cycles",), "edp": ("energy_pj", "latency_cycles")}
    return tuple(getattr(totals, name) for name in names[metric])


def measure(metric: Metric, totals: Totals | Sums) -> float:
    """The metric's value, in UNIT[metric]."""
    return math.prod(factors(metric, totals))


@dataclass(frozen=True)
class Budget:
    """At most dense / `divisor`, or at most `absolute`; exactly one is given."""

    metric: Metric
    divisor: float | None = None
    absolute: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Raises InfeasibleError when the text is no budget."""
        match = re.fullmatch(r"(energy|latency|edp)\s*([/=])\s*([0-9.eE+]+)", text.strip())
        try:
            value = float(match[3]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or not math.isfinite(value) or value <= 0:
            raise InfeasibleError(
                f"budget {text!r} is not understood. Write 'energy/3' for a third of the dense network's "
                "communication energy, 'latency/2', 'edp/6', or an absolute value such as 'energy=120000' (pJ)."
            )
        metric: Metric = match[1]  # type: ignore[assignment]  # one of the three, by the expression
        if match[2] == "/":
            if value < 1:
                raise InfeasibleError(
                    f"budget {text!r} asks for more than the dense network uses: divide by 1 or more."
                )
            return cls(metric, divisor=value)
        return cls(metric, absolute=value)

    def limit(self, dense: Totals) -> float:
        """The largest admitted value of the metric, in UNIT[metric]."""
        if self.absolute is not None:
            return self.absolute
        assert self.divisor is not None
        return measure(self.metric, dense) / self.divisor
