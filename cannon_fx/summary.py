"""A plan in words: one table for the terminal."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Table

from cannon_fx.compute import compute_total
from cannon_fx.cost import Cost, Sums
from cannon_fx.plans import Plan


def summary(plan: Plan, cost: Cost, width: int = 110) -> str:
    """Layers, tiles and costs per inference, with every layer that is not mapped and why."""
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
            layer.name,
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
    if computing := compute_total(plan, cost.keep):
        share = cost.energy_pj / (cost.energy_pj + computing["energy_pj"])
        totals += (
            f"\nbeside it, computing: {computing['energy_pj']:,.0f} pJ (of which ADCs {computing['adc_pj']:,.0f}), "
            f"{computing['latency_cycles']:,.0f} cycles; communication is {share:.1%} of both energies"
        )
    notes = [f"not mapped: {skipped.name}: {skipped.reason}" for skipped in plan.unmapped]
    notes += [
        f"no rule for {op}: everything moves to the home of its first input ({share:.2%} of all bits)"
        for op, share in plan.fallback_shares().items()
    ]
    console = Console(width=width, no_color=True, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(Group(table, totals, *notes))
    return captured.get()
