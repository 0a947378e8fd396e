"""What one might change about a network or its chip, from what the plan shows. Each line names its number."""

from __future__ import annotations

from cannon_fx.cost import Cost
from cannon_fx.coverage import Coverage
from cannon_fx.plans import Plan


def advice(plan: Plan, cost: Cost, covered: Coverage) -> list[str]:
    """At most a handful of lines; none where nothing stands out."""
    if not plan.layers:
        return ["nothing is on the chip: a network needs a plain nn.Linear or nn.Conv2d, and patterns that leave one."]
    found = []
    chip, energy = plan.chip, cost.energy_pj or 1.0
    if covered.macs < 0.9:
        found.append(
            f"{1 - covered.macs:.0%} of the products with weights are not on the chip, for the reasons above; what "
            "they bring together is counted as moves."
        )
    if covered.utilisation < 0.4:
        found.append(
            f"the tiles of {chip.tile_rows} x {chip.tile_columns} weights are {covered.utilisation:.0%} full: smaller "
            "tiles would hold the network in less memory."
        )
    if len(plan.layers) == plan.tiles:
        found.append(
            "every layer fits one tile, so there are few groups of channels to choose from: a smaller group_size gives "
            "more."
        )
    if (sums := cost.of(kind="partial_sum").energy_pj / energy) > 0.4:
        found.append(f"{sums:.0%} of the energy are partial sums: tiles with more rows would need fewer.")
    if (moves := cost.of(kind="move").energy_pj / energy) > 0.3:
        found.append(
            f"{moves:.0%} of the energy are moves of other ops (adds, attention, layers off the chip), which end only "
            "where nobody needs a channel: another order of tiles, such as annealed, can lower them."
        )
    if (guessed := plan.fallback_share) > 0.01:
        found.append(f"{guessed:.0%} of the traffic rests on ops without a rule: take it as an estimate.")
    return found
