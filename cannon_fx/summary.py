"""A plan in words: one table for the terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console, Group
from rich.table import Table

from cannon_fx.advice import advice
from cannon_fx.compute import compute_total
from cannon_fx.cost import Cost, PhaseKind, Sums
from cannon_fx.coverage import Coverage, coverage
from cannon_fx.efficiency import efficiencies, total
from cannon_fx.plans import Plan

SHOWN, NAMED = 10, 6
"""Phases, and layers that are not mapped for one reason."""

WHAT: dict[PhaseKind, str] = {"input": "input of", "partial_sum": "partial sums of", "move": "moves for"}


def summary(plan: Plan, cost: Cost, width: int = 110, covered: Coverage | None = None) -> str:
    """Layers, tiles and costs per inference; what is not mapped and why; what costs most; what one might change.

    `covered` is of the network before anything was cut, if something was.
    """
    grid, topology = plan.placed().grid, plan.chip.noc.topology
    table = Table(title=f"{plan.tiles} tiles of chip {plan.chip.name} on a {grid.columns} x {grid.rows} {topology}")
    table.add_column("layer", no_wrap=True)
    for column in ("weight", "tiles IxJ", "connections", "energy (pJ)", "share", "latency (cycles)"):
        table.add_column(column, justify="right", no_wrap=True)
    whole = cost.energy_pj or 1.0

    def row(name: str, shape: str, tiles: str, connections: str, part: Sums) -> None:
        energy, share = f"{part.energy_pj:,.0f}", f"{part.energy_pj / whole:.1%}"
        table.add_row(name, shape, tiles, connections, energy, share, f"{part.latency_cycles:,.0f}")

    for layer in plan.layers:
        row(
            layer.title,
            "x".join(map(str, layer.weight_shape)),
            f"{layer.row_blocks}x{layer.column_blocks}",
            str(layer.groups * layer.column_blocks),
            cost.of(node=layer.node),
        )
    if plan.moves:
        row("residual adds, moves", "", "", "", cost.of(kind="move"))
    totals = (
        f"energy {cost.energy_pj:,.0f} pJ dynamic + {cost.static_energy_pj:,.0f} pJ static, "
        f"latency {cost.latency_cycles:,.0f} cycles ({cost.latency_model}), "
        f"EDP {cost.edp_pj_cycles:.3g} pJ·cycles; per inference, {'multi' if plan.chip.noc.multicast else 'uni'}cast, "
        "partial sums included"
    )
    if plan.layers and (computing := compute_total(plan, cost.keep)):
        share = cost.energy_pj / (cost.energy_pj + computing["energy_pj"])
        totals += (
            f"\nbeside it, computing: {computing['energy_pj']:,.0f} pJ (of which ADCs {computing['adc_pj']:,.0f}), "
            f"{computing['latency_cycles']:,.0f} cycles; communication is {share:.1%} of both energies"
        )
        both = total(efficiencies(plan, cost))
        totals += (
            f"\ntogether: {both.operations:,} operations, {both.tops_per_watt:.3g} TOPS/W without leakage, "
            f"{both.tops:.3g} TOPS"
        )
    covered = covered or coverage(plan)
    totals += (
        f"\nmapped: {covered.weights:.1%} of the weights, {covered.macs:.1%} of the products with weights; tiles are "
        f"{covered.utilisation:.0%} full"
    )
    notes = [f"not mapped: {', '.join(names)}: {reason}" for reason, names in _by_reason(plan).items()]
    notes += [
        f"no rule for {op}: everything moves to the home of its first input ({share:.2%} of all bits)"
        for op, share in plan.fallback_shares().items()
    ]
    console = Console(width=width, no_color=True, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(Group(table, totals, *notes, _costliest(cost), *advice(plan, cost, covered)))
    return captured.get()


def _by_reason(plan: Plan) -> dict[str, list[str]]:
    """Per reason, the layers that are not mapped for it; of many, the first and how many more."""
    found: dict[str, list[str]] = {}
    for skipped in plan.unmapped:
        found.setdefault(skipped.reason, []).append(skipped.name)
    return {
        reason: names if len(names) <= NAMED else [*names[:NAMED], f"and {len(names) - NAMED} more"]
        for reason, names in found.items()
    }


def _costliest(cost: Cost) -> Table:
    """The phases that take most energy."""
    table = Table(title=f"the costliest of {len(cost.phases)} phases of communication")
    for column in ("what", "where", "energy (pJ)", "share", "latency (cycles)"):
        table.add_column(column, justify="left" if column in ("what", "where") else "right", no_wrap=True)
    energy, latency = cost.communication.energy_pj, cost.communication.latency_cycles
    for k in np.argsort(-energy, kind="stable")[:SHOWN].tolist():
        if energy[k] > 0:
            phase = cost.phases[k]
            share = f"{energy[k] / energy.sum():.1%}"
            table.add_row(
                WHAT[phase.kind], phase.name or "(the model)", f"{energy[k]:,.0f}", share, f"{latency[k]:,.0f}"
            )
    return table
