"""Writing traffic and layers in the formats of other tools: `--export FORMAT:PATH` of `cannon simulate` and `map`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from cannon_fx.atomic import atomic_write_text
from cannon_fx.errors import RunError
from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.exchange.booksim import to_booksim
from cannon_fx.hw.exchange.noxim import to_noxim
from cannon_fx.hw.exchange.perfetto import SimulatedPhase, to_perfetto
from cannon_fx.hw.exchange.siam import to_siam_trace
from cannon_fx.hw.exchange.tt_npe import to_tt_npe
from cannon_fx.hw.network import Network
from cannon_fx.hw.network_spec import NetworkSpec
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import Simulation, simulate
from cannon_fx.hw.traffic import Packets

Files = str | dict[str, str]
"""A file's text, or a folder's files."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Phase:
    """Packets whose times count from cycle `start` of the whole."""

    name: str
    start: int
    packets: Packets


@dataclass(frozen=True, eq=False)
class Traffic:
    """Phases on a network, and their simulations if they are there already.

    `network` is what `spec` describes, perhaps with an I/O port as a further node, which other tools do not have.
    """

    phases: tuple[Phase, ...]
    network: Network
    spec: NetworkSpec
    router: Router
    flit_bits: int
    clock_ghz: float
    simulations: tuple[Simulation, ...] | None = None

    @cached_property
    def packets(self) -> Packets:
        """All packets, with times from the beginning of the whole, and the first node of its router for the port."""
        router = self.network.node_router
        place = np.arange(self.network.nodes)
        place[self.spec.nodes :] = np.argmax(router[: self.spec.nodes] == router[self.spec.nodes :, None], axis=1)
        parts = [np.zeros((4, 0), np.int64)]  # a network where nothing is mapped has no phases
        for phase in self.phases:
            p = phase.packets
            parts.append(np.stack([p.time + phase.start, p.source, p.target, p.flits]))
        time, source, target, flits = np.concatenate(parts, axis=1)
        return Packets(time, place[source], place[target], flits)

    @cached_property
    def phase(self) -> Ints:
        """The phase of each of `packets`."""
        count = np.array([len(phase.packets) for phase in self.phases], np.int64)
        return np.repeat(np.arange(len(self.phases)), count)

    def perfetto(self) -> str:
        """Simulates what is not simulated yet, each phase in an empty network."""
        found = self.simulations or tuple(simulate(phase.packets, self.network, self.router) for phase in self.phases)
        together = zip(self.phases, found, strict=True)
        phases = [SimulatedPhase(phase.name, phase.packets, simulation) for phase, simulation in together]
        return to_perfetto(phases, self.network, self.clock_ghz)


TRAFFIC_FORMATS: Mapping[str, Callable[[Traffic], Files]] = {
    "trace": lambda t: "# time source target flits\n" + t.packets.dump(),
    "siam": lambda t: to_siam_trace(t.packets),
    "booksim": lambda t: to_booksim(t.packets, t.router, t.spec),
    "noxim": lambda t: to_noxim(t.packets, t.phase, t.spec),
    "tt-npe": lambda t: to_tt_npe(t.packets, t.phase, t.spec, t.flit_bits),
    "perfetto": Traffic.perfetto,
}


@dataclass(frozen=True)
class Export(Generic[T]):
    """One `FORMAT:PATH`: how to write a T, and where."""

    write_as: Callable[[T], Files]
    path: Path

    @classmethod
    def parse(cls, wishes: Iterable[str], formats: Mapping[str, Callable[[T], Files]]) -> list[Export[T]]:
        """Raises RunError for a format not among `formats`, a path in a folder that is not there, and a path twice."""
        found: list[Export[T]] = []
        for wish in wishes:
            name, _, path = wish.partition(":")
            if name not in formats or not path:
                raise RunError(f"--export {wish!r} is not FORMAT:PATH with one of the formats {', '.join(formats)}.")
            if not Path(path).absolute().parent.is_dir():
                raise RunError(f"--export {wish!r}: there is no folder {str(Path(path).parent)!r}. Make it first.")
            if any(export.path.absolute() == Path(path).absolute() for export in found):
                raise RunError(f"--export {wish!r}: another export goes to that path. Give each its own.")
            found.append(cls(formats[name], Path(path)))
        return found

    @classmethod
    def write_all(cls, exports: Sequence[Export[T]], subject: T) -> None:
        """Writes files and folders, nothing before all are made; those of the same names are replaced.

        Raises RunError, ChipError.
        """
        for export, files in [(export, export.write_as(subject)) for export in exports]:
            export._write(files)

    def _write(self, files: Files) -> None:
        try:
            if isinstance(files, str):
                atomic_write_text(self.path, files)
                return
            self.path.mkdir(exist_ok=True)
            for name, text in files.items():
                atomic_write_text(self.path / name, text)
        except OSError as error:
            raise RunError(f"cannot write {str(self.path)!r}: {error.strerror}. Choose another path.") from error
