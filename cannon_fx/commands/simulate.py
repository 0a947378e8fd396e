"""`cannon simulate`: send a trace, a traffic matrix or a synthetic pattern through a network-on-chip."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cannon_fx.commands import interruptible, say
from cannon_fx.hw.reading import read_text

if TYPE_CHECKING:
    from cannon_fx.hw.arrays import Ints
    from cannon_fx.hw.network import Network
    from cannon_fx.hw.network_spec import NetworkSpec
    from cannon_fx.hw.router import Router
    from cannon_fx.hw.simulator import Simulation
    from cannon_fx.hw.traffic import Packets

T = TypeVar("T")


@dataclass(frozen=True)
class Simulate:
    """Simulate traffic on a network-on-chip, flit by flit, and estimate the same without simulating."""

    trace: Path | None = None
    """rows `time source target flits`, one packet each; # starts a comment, node = y * columns + x"""
    trace_format: Literal["ours", "siam"] | None = None
    """with --trace: siam has rows `source target time`, packets of one flit (ours)"""
    matrix: Path | None = None
    """instead of --trace: flits from each node (a row) to each node (a column), all created at cycle 0"""
    rate: float | None = None
    """instead of --trace: flits that each node sends per cycle"""
    pattern: str | None = None
    """with --rate, where to: uniform, transpose, bitcomp, bitrev, shuffle, tornado, neighbor, asymmetric (uniform)"""
    packet_flits: int | None = None
    """with --rate or --matrix: flits of a packet (1)"""
    cycles: int | None = None
    """with --rate: cycles in which packets are created; the last ones are waited for (10000)"""
    seed: int | None = None
    """with --rate: of the random packets (0)"""
    router: str = "siam-32nm"
    """a chip that comes with cannon_fx, a chip's .toml file, or a configuration of BookSim2's iq router"""
    mesh: str | None = None
    """COLUMNSxROWS of nodes, e.g. 16x16; a mesh, unless --topology says otherwise. Without it, what --router says"""
    topology: Literal["mesh", "torus", "ring", "cmesh", "tree", "chiplets"] | None = None
    """how the nodes are connected"""
    routing: Literal["xy", "yx"] | None = None
    """on a mesh, along which axis first (xy)"""
    block: str | None = None
    """COLUMNSxROWS of nodes behind one router (cmesh), or on one chiplet (chiplets) (2x2)"""
    arity: int | None = None
    """of a tree (4)"""
    package_cycles: int | None = None
    """cycles of a link between chiplets (1)"""
    package_interval: int | None = None
    """cycles per flit on a link between chiplets (1)"""
    json: bool = False
    """print one JSON object instead of tables"""
    export: tuple[str, ...] = ()
    """FORMAT:PATH, also several: trace, siam, noxim, tt-npe, perfetto (files) or booksim (a folder)"""

    def run(self) -> None:
        """Simulates, writes the exports and prints. Raises CannonError, ChipError."""
        from cannon_fx.exports import TRAFFIC_FORMATS, Export, Phase, Traffic
        from cannon_fx.hw.analytic import analytic_makespan
        from cannon_fx.hw.simulator import simulate, stall_cycles
        from cannon_fx.hw.traffic import Packets

        self._check()
        exports = Export.parse(self.export, TRAFFIC_FORMATS)
        router, spec, flit_bits, clock_ghz = self._hardware()
        network, packets = spec.build(), self._packets(spec)
        # Compiled before the clock starts, by a packet from node 0 to itself.
        notice = Timer(2, say, ["compiling the simulator; this happens once."])
        notice.daemon = True
        notice.start()
        for compiled in (simulate, analytic_makespan):
            compiled(Packets.of_rows([(0, 0, 0, 1)]), network, router)
        notice.cancel()
        start = time.perf_counter()
        found = interruptible(lambda: simulate(packets, network, router))
        seconds = time.perf_counter() - start
        result: dict[str, Any] = {
            "makespan_cycles": found.makespan_cycles,
            "mean_packet_latency_cycles": found.mean_packet_latency_cycles,
            "flits": found.flits,
            "flit_hops": found.flit_hops,
            "analytic_makespan_cycles": analytic_makespan(packets, network, router),
            "seconds": seconds,
        }
        traffic = Traffic((Phase("traffic", 0, packets),), network, spec, router, flit_bits, clock_ghz, (found,))
        Export.write_all(exports, traffic)
        width = shutil.get_terminal_size((110, 0)).columns
        if self.json:
            sys.stdout.write(json.dumps(result) + "\n")
        else:
            lost = stall_cycles(found, packets, network, router)
            sys.stdout.write(tables(result, lost, spec, network, found, width))

    def _check(self) -> None:
        """Raises RunError for options that the others leave without a meaning."""
        from cannon_fx.errors import RunError

        sources = {"--trace": self.trace, "--matrix": self.matrix, "--rate": self.rate}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            raise RunError("say what to simulate: one of --trace FILE, --matrix FILE and --rate R.")
        meant_for = {
            "trace_format": ("--trace",),
            "packet_flits": ("--rate", "--matrix"),
            **dict.fromkeys(("pattern", "cycles", "seed"), ("--rate",)),
        }
        for option, users in meant_for.items():
            if getattr(self, option) is not None and given[0] not in users:
                raise RunError(f"--{option.replace('_', '-')} is for {' and '.join(users)}: leave it out.")

    def _hardware(self) -> tuple[Router, NetworkSpec, int, float]:
        """The router, the network, bits of a flit and GHz; the last two are 32 and 1 for a BookSim2 configuration."""
        from cannon_fx.errors import RunError
        from cannon_fx.hw.chip import Chip
        from cannon_fx.hw.exchange import booksim
        from cannon_fx.hw.fabric import spec_of
        from cannon_fx.hw.router import Router

        size = sizes("mesh", self.mesh) if self.mesh else None
        if self.router in Chip.presets() or self.router.endswith(".toml"):
            chip = Chip.load(self.router)
            router, flit_bits, clock_ghz = chip.noc.router, chip.noc.flit_bits, chip.noc.clock_ghz
            spec = spec_of(chip, 0)
            sized = chip.noc.columns is not None
        elif Path(self.router).is_file():
            router, keys = Router.load(self.router)
            flit_bits, clock_ghz = 32, 1.0
            sized = "k" in keys
            spec = booksim.spec_of(keys, self.router)
        else:
            raise RunError(
                f"--router {self.router!r} is no file and no chip that comes with cannon_fx. Give one of "
                f"{', '.join(Chip.presets())}, a chip's .toml file, or a configuration of BookSim2."
            )
        if size is None and not sized:
            raise RunError(f"{self.router} says nothing of the network's size. Give --mesh COLUMNSxROWS, e.g. 16x16.")
        given: dict[str, Any] = {
            "topology": self.topology or ("mesh" if size else None),
            "routing": self.routing,
            "block": sizes("block", self.block) if self.block else None,
            "arity": self.arity,
            "package_cycles": self.package_cycles,
            "package_interval": self.package_interval,
        } | (dict(zip(("columns", "rows"), size, strict=True)) if size else {})
        spec = replace(spec, **{k: v for k, v in given.items() if v is not None})
        meant_for = {
            "block": ("cmesh", "chiplets"),
            "arity": ("tree",),
            **dict.fromkeys(("package_cycles", "package_interval"), ("chiplets",)),
        }
        for option, topologies in meant_for.items():
            if getattr(self, option) is not None and spec.topology not in topologies:
                raise RunError(
                    f"--{option.replace('_', '-')} is for {' and '.join(topologies)}, and this is a {spec.topology}: "
                    "leave it out, or choose another --topology."
                )
        return router, spec, flit_bits, clock_ghz

    def _packets(self, spec: NetworkSpec) -> Packets:
        from cannon_fx.errors import RunError
        from cannon_fx.hw.exchange.matrix import from_matrix
        from cannon_fx.hw.exchange.siam import from_siam_trace
        from cannon_fx.hw.traffic import SQUARE_PATTERNS, Packets, synthetic

        if self.trace is not None:
            read = from_siam_trace if self.trace_format == "siam" else Packets.parse
            return read(read_text(self.trace), str(self.trace), spec.nodes)
        packet_flits = _either(self.packet_flits, 1)
        if self.matrix is not None:
            flits = from_matrix(read_text(self.matrix), spec.nodes, str(self.matrix))
            return Packets.of_matrix(flits, packet_flits)
        assert self.rate is not None
        pattern = _either(self.pattern, "uniform")
        if pattern in SQUARE_PATTERNS and spec.columns != spec.rows:
            raise RunError(f"pattern {pattern!r} is for square networks, not {spec.grid}. Give --mesh NxN.")
        cycles, seed = _either(self.cycles, 10_000), _either(self.seed, 0)
        return synthetic(pattern, spec.nodes, self.rate, packet_flits, cycles, seed)


def _either(given: T | None, default: T) -> T:
    return default if given is None else given


def sizes(option: str, text: str) -> tuple[int, int]:
    """(16, 8) from 16x8. Raises RunError."""
    from cannon_fx.errors import RunError

    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if match is None:
        raise RunError(f"--{option} {text!r} is not of the form COLUMNSxROWS, e.g. 16x16.")
    return int(match[1]), int(match[2])


def tables(
    result: dict[str, Any], lost: Ints, spec: NetworkSpec, network: Network, found: Simulation, width: int
) -> str:
    """The result for the terminal: the figures, and the links that carried most.

    `lost` int [packets]: cycles that each packet lost in the network.
    """
    import numpy as np
    from rich.console import Console, Group
    from rich.table import Table

    figures = Table(show_header=False)
    packets, flits, flit_hops = len(lost), result["flits"], result["flit_hops"]
    wait, stall = (float(cycles.mean()) if packets else 0.0 for cycles in (found.source_wait_cycles, lost))
    rows = {
        "network": f"{spec.topology}, {spec.grid} nodes",
        "makespan": f"{result['makespan_cycles']:,} cycles (simulated)",
        "": f"{result['analytic_makespan_cycles']:,.0f} cycles (analytic)",
        "mean packet latency": f"{result['mean_packet_latency_cycles']:,.2f} cycles, creation to tail ejection",
        "of that, stalls": f"{wait:,.2f} cycles waiting at the source, {stall:,.2f} behind others in the network",
        "traffic": f"{packets:,} packets, {flits:,} flits, {flit_hops:,} flit-hops",
        "time": f"{result['seconds']:.3f} s for the simulation",
    }
    for name, value in rows.items():
        figures.add_row(name, value)
    links = Table(title="busiest links")
    for column in ("from router", "to router", "flits", "flits per cycle", "cycles a flit waits behind it"):
        links.add_column(column, justify="right")
    loads = np.where(network.neighbour >= 0, found.link_flits, 0)
    for link in np.argsort(-loads, axis=None, kind="stable")[:5]:
        router, port = divmod(int(link), network.ports)
        if carried := int(loads[router, port]):
            ends = str(router), str(network.neighbour[router, port])
            waiting = found.waiting_flit_cycles[router, port] / carried
            links.add_row(*ends, f"{carried:,}", f"{carried / found.makespan_cycles:.3f}", f"{waiting:,.2f}")
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(Group(figures, links) if links.row_count else figures)
    return captured.get()
