"""The plan: what compiling a model for a chip has found. Passes fill it in; nothing in it changes the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.fx import GraphModule

from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.placement import Placement
from cannon_fx.layer import Layer

if TYPE_CHECKING:
    import sympy

    from cannon_fx.cost import Cost
    from cannon_fx.dynamic import DynamicProgram
    from cannon_fx.hw.communication import LatencyModel

Keep = Mapping[str, NDArray[np.bool_]]
"""Per layer name, the connections that are kept: bool [J, G]."""


@dataclass(frozen=True)
class Unmapped:
    """A linear or convolution that is not on the chip's crossbars, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class LayerInput:
    """Where a layer's input comes from: `elements[k]` elements of channel group `group[k]` live on tile `home[k]`.

    Only elements that some weight reads are counted (a strided 1x1 convolution reads one in four).
    """

    producer: str
    group: Ints
    home: Ints
    elements: Ints


@dataclass(frozen=True)
class Move:
    """Activations that another op brings together: `elements[k]` go from tile `source[k]` to `target[k]`.

    `producer[k]` indexes `producers`, the graph nodes whose values move: one graph edge each. Without `by_rule`
    the op had no rule, and everything moves to one tile.
    """

    node: str
    op: str
    producers: tuple[str, ...]
    producer: Ints
    source: Ints
    target: Ints
    elements: Ints
    by_rule: bool = True


@dataclass(frozen=True)
class Plan:
    """Layers, tiles, placement, homes and transfers of one model on one chip, for one inference.

    `options` are the compiler's own (group_size, order), so that a saved plan can be made again. Where sizes of the
    inputs were left open, `exported` has those of the example and `dynamic` has symbols.
    """

    chip: Chip
    exported: ExportedProgram
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    inputs: Mapping[str, LayerInput] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    placement: Placement | None = None
    dynamic: DynamicProgram | None = None
    kept: Keep | None = None
    """The connections of a plan of which some are cut; None for all"""

    @property
    def tiles(self) -> int:
        """Tiles that the layers take."""
        return sum(layer.tiles for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Of the tiles' cells, the share that holds a weight."""
        weights = sum(int(layer.weights_of_connection.sum()) for layer in self.layers)
        return weights / max(self.tiles * self.chip.tile_rows * self.chip.tile_columns, 1)

    @property
    def fallback_ops(self) -> tuple[str, ...]:
        """Ops without a rule, for which everything moves to the home of the first input."""
        return tuple(sorted({move.op for move in self.moves if not move.by_rule}))

    def fallback_shares(self) -> dict[str, float]:
        """What share of all bits of one inference, with every connection kept, each of `fallback_ops` moves."""
        if not self.fallback_ops:
            return {}
        from cannon_fx.cost import all_transfers  # which itself reads plans

        transfers, phases = all_transfers(self, self.full())
        bits = np.bincount(transfers.phase, transfers.bits, len(phases))
        op = {move.node: move.op for move in self.moves if not move.by_rule}
        shares = dict.fromkeys(self.fallback_ops, 0.0)
        for phase, moved in zip(phases, bits, strict=True):
            if phase.node in op:
                shares[op[phase.node]] += float(moved / bits.sum())
        return shares

    @property
    def fallback_share(self) -> float:
        """The share of all bits that rests on ops without a rule."""
        return sum(self.fallback_shares().values())

    def alone(self) -> Plan:
        """Without the network that it may be applied to."""
        return Plan(**{f.name: getattr(self, f.name) for f in fields(Plan)})

    def full(self) -> dict[str, NDArray[np.bool_]]:
        """Every connection kept."""
        return {layer.name: np.ones((layer.column_blocks, layer.groups), np.bool_) for layer in self.layers}

    def keep(self) -> Keep:
        """The connections that are kept: all of them, as long as nothing is cut."""
        return self.full() if self.kept is None else self.kept

    def cost(self, latency_model: LatencyModel = "analytic") -> Cost:
        """The communication cost of one inference with the connections that are kept."""
        from cannon_fx.cost import cost  # which itself reads plans

        return cost(self, self.keep(), latency_model)

    @property
    def annotated(self) -> ExportedProgram:
        """The captured network; its nodes carry what the connections that are kept now cost, for one sample.

        In node.meta["custom"]["cannon"], as cannon_fx/annotate.py says; torch.export.save keeps it. Costs are formulas
        where sizes are open.
        """
        from cannon_fx.annotate import annotated  # which itself reads plans

        return annotated(self, self.keep())

    @property
    def graph_module(self) -> GraphModule:
        """`annotated` as a plain FX graph module, to be run."""
        module: GraphModule = self.annotated.module()
        return module

    def energy_formula(self) -> sympy.Expr:
        """Its dynamic communication energy, pJ, in a chip's constants: see cannon_fx.hw.symbolic."""
        from cannon_fx.cost import all_transfers
        from cannon_fx.hw.symbolic import symbolic_energy_pj

        transfers, _ = all_transfers(self, self.keep())
        return symbolic_energy_pj(transfers, self.cost().communication.routes)

    def summary(self, width: int = 110, latency_model: LatencyModel = "analytic") -> str:
        """Layers, tiles and costs as a table for the terminal, and what is not mapped and why."""
        from cannon_fx.summary import summary

        return summary(self, self.cost(latency_model), width)

    def placed(self) -> Placement:
        """The placement; a plan that leaves the compiler always has one."""
        assert self.placement is not None, "the Place pass has not run"
        return self.placement
