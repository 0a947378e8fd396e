"""`cannon map`: where a network's layers would lie, and what they would cost."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cannon_fx.commands import interruptible
from cannon_fx.commands.mapping import NetworkOptions
from cannon_fx.hw.reading import read_text

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Map(NetworkOptions):
    """Show where a network's layers would lie and what they would cost. Nothing is trained."""

    network_csv: Path | None = None
    """a layer table of another tool, instead of --model and --data"""
    dialect: Literal["neurosim", "siam", "scale-sim"] | None = None
    """whose table --network-csv is: column 8 is a stride in NeuroSim's NetWork.csv, a sparsity in SIAM's and HISIM's"""
    latency: Literal["analytic", "simulated"] = "analytic"
    """how long transfers take: by formula, or simulated flit by flit (minutes for large networks)"""
    export: tuple[str, ...] = ()
    """FORMAT:PATH, also several: the traffic as trace, siam, noxim, tt-npe, perfetto (files) or booksim (a folder); the
    layers as neurosim-csv, siam-csv, scale-sim (files) or siam-layers (a folder)"""

    @property
    def demo(self) -> bool:
        """True for the built-in network."""
        return self.model is None and self.network_csv is None

    def run(self) -> None:
        """Prints the plan's summary and writes the exports. Raises CannonError, ChipError."""
        from cannon_fx.compile import plan
        from cannon_fx.errors import RunError
        from cannon_fx.exports import Export
        from cannon_fx.plan_exports import PLAN_FORMATS

        exports = Export.parse(self.export, PLAN_FORMATS)
        if self.dialect and not self.network_csv:
            raise RunError("--dialect says how to read a table, but there is none. Give --network-csv FILE with it.")
        model, sample = self._table() if self.network_csv else self.network()
        mapping = self.mapping()
        found = plan(model, sample, **mapping | {"targets": mapping["targets"] or None})
        interruptible(partial(Export.write_all, exports, found))
        sys.stdout.write(found.summary(shutil.get_terminal_size((110, 0)).columns, self.latency))

    def _table(self) -> tuple[nn.Module, Tensor]:
        import torch

        from cannon_fx.errors import RunError
        from cannon_fx.hw.exchange.network_csv import from_network_csv
        from cannon_fx.hw.exchange.scale_sim import from_scale_sim
        from cannon_fx.table_network import TableNetwork

        if self.model or self.data or self.input_shape:
            raise RunError("--network-csv is a network and its input: leave out --model, --data and --input-shape.")
        if self.dialect is None:
            raise RunError("--network-csv needs --dialect, since nothing in the file tells neurosim from siam.")
        assert self.network_csv is not None
        origin, text = str(self.network_csv), read_text(self.network_csv)
        if self.dialect == "scale-sim":
            shapes = from_scale_sim(text, origin)
        else:
            shapes = from_network_csv(text, self.dialect, origin)
        with torch.device("meta"):  # shapes without memory: a table has no weights to give
            model = TableNetwork(shapes, origin)
            return model, torch.zeros(1, *model.input_size)
