"""Packets to simulate: from a trace file, a traffic matrix, or a synthetic pattern."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import Ints
from .errors import ChipError
from .reading import read_text

MOST = 10**15
"""The largest number in a trace: far above any cycle count, far below what overflows."""

MOST_FLITS = (1 << 31) - 1
"""The longest packet."""


def integer_rows(text: str, origin: str, columns: Mapping[str, tuple[int, int]]) -> Ints:
    """Whole numbers from lines of text, int64 [rows, columns]; `#` starts a comment, empty lines count for nothing.

    `columns` names them and gives each one's range, ends included; `origin` names the text. Raises ChipError with the
    line.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            row = tuple(map(int, words))
        except ValueError:
            row = ()
        if len(row) != len(columns):
            raise ChipError(
                f"{origin}, line {number}: {line.strip()!r} is no row of {len(columns)} whole numbers: "
                f"{' '.join(columns)}. Correct the line; # starts a comment."
            )
        for (name, (least, most)), value in zip(columns.items(), row, strict=True):
            if not least <= value <= most:
                raise ChipError(f"{origin}, line {number}: {name} is {value}, not from {least} to {most}.")
        rows.append(row)
    return np.array(rows, np.int64).reshape(-1, len(columns))


def text_of(*columns: Ints) -> str:
    """What `integer_rows` reads: a line per row."""
    rows, form = np.stack(columns, axis=1), " ".join(["%d"] * len(columns)) + "\n"
    parts = np.array_split(rows, len(rows) // 100_000 + 1)  # Python's integers take ten times the memory
    return "".join("".join([form % tuple(row) for row in part.tolist()]) for part in parts)


@dataclass(frozen=True, eq=False)
class Packets:
    """One entry per packet, int64: creation `time` in cycles, `source` and `target` node, length in `flits`.

    Raises ChipError for columns of different length, negative times and packets without flits.
    """

    time: Ints
    source: Ints
    target: Ints
    flits: Ints

    def __post_init__(self) -> None:
        columns = ("time", "source", "target", "flits")
        for name in columns:
            given = np.asarray(getattr(self, name))
            if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
                raise ChipError(f"packet column {name!r} must be a row of integers, not {given.dtype} {given.shape}.")
            object.__setattr__(self, name, np.ascontiguousarray(given, np.int64))
        lengths = {name: len(getattr(self, name)) for name in columns}
        if len(set(lengths.values())) > 1:
            raise ChipError(f"packet columns differ in length: {lengths}.")
        for name, least in (("time", 0), ("flits", 1)):
            wrong = getattr(self, name) < least
            if wrong.any():
                row = int(wrong.argmax())
                raise ChipError(f"{name} {getattr(self, name)[row]} of packet {row} is below {least}.")
        if self.flits.size and int(self.flits.max()) > MOST_FLITS:
            raise ChipError(f"a packet of {self.flits.max()} flits is too long. Split it.")

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of_rows(cls, rows: list[tuple[int, int, int, int]]) -> Packets:
        """From (time, source, target, flits) rows."""
        return cls(*np.asarray(rows).reshape(-1, 4).T)

    @classmethod
    def parse(cls, text: str, origin: str = "trace", nodes: int = MOST) -> Packets:
        """From trace text: rows `time source target flits`, `#` starts a comment.

        Raises ChipError with the line, also for nodes that a network of `nodes` nodes does not have.
        """
        node = (0, nodes - 1)
        columns = {"time": (0, MOST), "source": node, "target": node, "flits": (1, MOST_FLITS)}
        return cls(*integer_rows(text, origin, columns).T)

    @classmethod
    def load(cls, path: str | Path) -> Packets:
        """`parse` of a file. Raises ChipError."""
        return cls.parse(read_text(path), str(path))

    def dump(self) -> str:
        """The rows that `parse` reads."""
        return text_of(self.time, self.source, self.target, self.flits)

    @classmethod
    def of_matrix(cls, flits: Ints, packet_flits: int, interval_cycles: int = 0) -> Packets:
        """Every source sends `flits[source, target]` in packets of `packet_flits`, the last one shorter.

        Packet r of every pair is created at cycle r * interval_cycles. Raises ChipError for a matrix that is not
        square, holds NaN, fractions or negative numbers, and for a packet length below 1.
        """
        given = np.asarray(flits)
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise ChipError(f"a traffic matrix is square, [nodes, nodes], not {list(given.shape)}.")
        if not np.isfinite(given).all() or (given < 0).any() or (given != np.floor(given)).any():
            raise ChipError("a traffic matrix holds numbers of flits: whole, finite and not negative.")
        source, target = np.nonzero(given)
        return cls.of_flows(source, target, given[source, target].astype(np.int64), packet_flits, interval_cycles)

    @classmethod
    def of_flows(cls, source: Ints, target: Ints, flits: Ints, packet_flits: int, interval_cycles: int = 0) -> Packets:
        """Flow k sends `flits[k]` from `source[k]` to `target[k]` in packets of `packet_flits`, the last one shorter.

        Packet r of every flow is created at cycle r * interval_cycles; flows take turns. Raises ChipError.
        """
        if packet_flits < 1 or interval_cycles < 0:
            raise ChipError(f"packets of {packet_flits} flits every {interval_cycles} cycles: give at least 1 and 0.")
        count = -(-flits // packet_flits)
        if (many := float(count.sum(dtype=np.float64))) > MOST_DRAWN:
            raise ChipError(
                f"these flows are {many:.0f} packets of {packet_flits} flits: give at most {MOST_DRAWN} packets, fewer "
                "flits or longer packets."
            )
        flow = np.repeat(np.arange(len(count)), count)
        turn = np.arange(len(flow)) - np.repeat(np.cumsum(count) - count, count)
        length = np.minimum(packet_flits, flits[flow] - turn * packet_flits)
        order = np.argsort(turn, kind="stable")
        columns = (turn * interval_cycles, source[flow], target[flow], length)
        return cls(*(column[order] for column in columns))


MOST_DRAWS, MOST_DRAWN = 10**10, 50_000_000
"""Nodes times cycles of synthetic traffic, and packets: about a minute to draw, and 8 GB to simulate."""

SQUARE_PATTERNS = ("transpose", "tornado", "neighbor")
"""They speak of rows and columns, and are given the number of nodes alone: so both must be as many."""

Target = Callable[[Ints, np.random.Generator], Ints]


def pattern(name: str, nodes: int) -> Target:
    """Target of each packet of a source, for a pattern of BookSim2's on `nodes` nodes. Raises ChipError."""
    bits, edge = nodes.bit_length() - 1, math.isqrt(nodes)
    power = nodes == 1 << bits
    half, low = nodes // 2, (1 << (bits // 2)) - 1
    patterns: dict[str, tuple[bool, str, Target]] = {
        "uniform": (True, "", lambda s, rng: rng.integers(0, nodes, len(s))),
        "transpose": (
            power and bits % 2 == 0,
            "an even power of two",
            lambda s, rng: ((s >> (bits // 2)) & low) | ((s & low) << (bits // 2)),
        ),
        "bitcomp": (power, "a power of two", lambda s, rng: ~s & (nodes - 1)),
        "bitrev": (
            power,
            "a power of two",
            lambda s, rng: np.sum([((s >> b) & 1) << (bits - 1 - b) for b in range(bits)], axis=0, dtype=np.int64),
        ),
        "shuffle": (power, "a power of two", lambda s, rng: ((s << 1) & (nodes - 1)) | (s >> max(bits - 1, 0))),
        "tornado": (
            edge * edge == nodes,
            "a square",
            lambda s, rng: (s % edge + (edge + 1) // 2 - 1) % edge + edge * ((s // edge + (edge + 1) // 2 - 1) % edge),
        ),
        "neighbor": (
            edge * edge == nodes,
            "a square",
            lambda s, rng: (s % edge + 1) % edge + edge * ((s // edge + 1) % edge),
        ),
        "asymmetric": (nodes % 2 == 0, "even", lambda s, rng: s % half + half * rng.integers(0, 2, len(s))),
    }
    if name not in patterns:
        raise ChipError(f"unknown traffic pattern {name!r}: choose one of {', '.join(patterns)}.")
    fits, needs, target = patterns[name]
    if not fits:
        raise ChipError(f"traffic pattern {name!r} needs a number of nodes that is {needs}, not {nodes}.")
    return target


def synthetic(name: str, nodes: int, rate: float, packet_flits: int, cycles: int, seed: int = 0) -> Packets:
    """Bernoulli traffic: every node creates a packet in a cycle with probability rate / packet_flits.

    `rate` in flits per node and cycle, `cycles` long. As in BookSim2, uniform traffic includes packets to oneself.
    Raises ChipError.
    """
    if not 1 <= packet_flits <= MOST_FLITS:
        raise ChipError(f"packets of {packet_flits} flits: give from 1 to {MOST_FLITS}.")
    if not 0 <= rate <= packet_flits:
        raise ChipError(
            f"rate {rate}: a node sends from 0 to {packet_flits} flits per cycle in packets of {packet_flits}."
        )
    if seed < 0:
        raise ChipError(f"seed {seed} is negative: give one from 0 on.")
    if not 0 <= cycles <= MOST_DRAWS // nodes:
        raise ChipError(f"{cycles} cycles of {nodes} nodes: give from 0 to {MOST_DRAWS // nodes} cycles.")
    if (expected := cycles * nodes * rate / packet_flits) > MOST_DRAWN:
        raise ChipError(
            f"{cycles} cycles at rate {rate} are about {expected:.0f} packets: give fewer cycles or a lower rate, for "
            f"{MOST_DRAWN} at most."
        )
    rng = np.random.default_rng(seed)
    target = pattern(name, nodes)
    # A part at a time: the draws need not be in memory together.
    parts = [np.zeros((0, 2), np.int64)]
    for first in range(0, cycles, step := max(1_000_000 // nodes, 1)):
        created = rng.random((min(step, cycles - first), nodes)) < rate / packet_flits
        parts.append(np.argwhere(created) + np.array([first, 0]))
    time, source = np.concatenate(parts).T
    return Packets(time, source, target(source, rng), np.full(len(time), packet_flits))
