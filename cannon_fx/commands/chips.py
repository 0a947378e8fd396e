"""`cannon chips`: the chips that come with cannon_fx, side by side or one as its file."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from cannon_fx.hw.chip import Chip


@dataclass(frozen=True)
class Chips:
    """List the chips that come with cannon_fx; with a name, print that chip's file, to copy and change."""

    name: tyro.conf.Positional[str] = ""
    """a chip's name; `cannon chips siam-32nm > own.toml` begins a chip of one's own"""
    json: bool = False
    """print JSON: a list of all chips, or the one"""

    def run(self) -> None:
        """Prints. Raises ChipError for an unknown name."""
        from cannon_fx.hw.chip import Chip

        if not self.name:
            chips = [Chip.load(name) for name in Chip.presets()]
            sys.stdout.write(_json([c.dump() for c in chips]) if self.json else table(chips))
        else:
            chip = Chip.load(self.name)
            sys.stdout.write(_json(chip.dump()) if self.json else Chip.text_of(self.name))


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def table(chips: list[Chip]) -> str:
    """A row per chip, for the terminal."""
    from rich.console import Console
    from rich.table import Table

    rows = Table()
    for column in (
        "chip",
        "crossbar",
        "weights of a tile",
        "bits",
        "network",
        "flit bits",
        "VCs x flits",
        "pJ per flit and hop",
    ):
        rows.add_column(column, no_wrap=column == "chip")
    for chip in chips:
        noc, energy = chip.noc, chip.noc_energy
        rows.add_row(
            chip.name,
            f"{chip.crossbar.rows} x {chip.crossbar.columns}, {chip.crossbar.cell_bits} bit",
            f"{chip.tile_rows} x {chip.tile_columns}",
            str(chip.precision.weight_bits),
            noc.topology,
            str(noc.flit_bits),
            f"{noc.router.num_vcs} x {noc.router.vc_buf_size}",
            f"{energy.router_pj_per_flit:.3g} + {energy.link_pj_per_flit:.3g}",
        )
    console = Console(width=shutil.get_terminal_size((110, 0)).columns, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(
            rows, "router + link; `cannon chips NAME` prints a chip's file, with a source beside every constant."
        )
    return captured.get()
