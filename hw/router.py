"""The router of the flit simulator: the parameters of BookSim2's `iq` router, read from BookSim2's own config files."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .arrays import Ints
from .errors import ChipError
from .network import Ways
from .reading import read_text

Delay = Annotated[int, Field(ge=0, le=1000, strict=True)]
Stage = Annotated[int, Field(ge=1, le=1000, strict=True)]
Count = TypeVar("Count", int, Ints)
Flag = Annotated[bool, Field(strict=False)]

NETWORK_KEYS = frozenset({"topology", "k", "n", "c", "x", "y", "xr", "yr", "routing_function", "use_noc_latency"})
"""Keys of a BookSim2 config that describe the network; `Router.parse` hands them back beside the router."""

_ONLY = {
    "router": ("iq",),
    "vc_allocator": ("islip",),
    "sw_allocator": ("islip",),
    "spec_sw_allocator": ("prio",),
    "arb_type": ("round_robin",),
    "buffer_policy": ("private",),
    "priority": ("none",),
    "buf_size": (-1, 0),
    "output_buffer_size": (-1,),
    "hold_switch_for_packet": (0,),
    "noq": (0,),
    "spec_check_elig": (1,),
    "spec_check_cred": (1,),
    "spec_mask_by_reqs": (0,),
    "vc_prioritize_empty": (0,),
    "vc_priority_donation": (0,),
    "vc_shuffle_requests": (0,),
    "classes": (1,),
    "subnets": (1,),
    "link_failures": (0,),
    "use_read_write": (0,),
    "channel_file": ("",),
}
"""Options of BookSim2 that are modelled in these settings only."""

_ELSEWHERE = frozenset(
    "traffic injection_process injection_rate injection_rate_uses_flits packet_size sim_type warmup_periods "
    "sample_period max_samples latency_thres seed sim_count sim_power tech_file channel_width print_csv_results "
    "print_activity include_queuing deadlock_warn_timeout stats_out".split()
)
"""Keys that say what traffic to run and how to measure it: no property of a router, and no reason to refuse a file."""


class Router(BaseModel):
    """An input-queued virtual-channel router. Delays in cycles, buffers in flits per VC.

    The stages are route, VC allocation, switch allocation, crossbar. `routing_delay` 0 is lookahead routing: the
    router before has routed. `speculative` asks for the crossbar together with the VC. Allocators are iSLIP
    with one iteration, as in BookSim2, whose `alloc_iters` and `output_delay` the `iq` router never reads: they
    are accepted and change nothing there or here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_vcs: Annotated[int, Field(ge=1, le=60, strict=True)] = 16
    vc_buf_size: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 8
    routing_delay: Delay = 1
    vc_alloc_delay: Stage = 1
    sw_alloc_delay: Stage = 1
    st_prepare_delay: Delay = 0
    st_final_delay: Delay = 1
    credit_delay: Delay = 0
    output_delay: Delay = 0
    alloc_iters: Stage = 1
    speculative: Flag = False
    wait_for_tail_credit: Flag = False
    vc_busy_when_full: Flag = False
    input_speedup: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    output_speedup: Annotated[int, Field(ge=1, le=16, strict=True)] = 1
    internal_speedup: Annotated[float, Field(ge=1, le=16, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _works(self) -> Self:
        if self.crossbar_delay < 1:
            raise ValueError("st_prepare_delay + st_final_delay must be at least 1 cycle")
        if self.speculative and self.vc_alloc_delay > self.sw_alloc_delay:
            raise ValueError("a speculative router cannot have vc_alloc_delay above sw_alloc_delay")
        return self

    @property
    def crossbar_delay(self) -> int:
        """Cycles through the crossbar."""
        return self.st_prepare_delay + self.st_final_delay

    def zero_load_cycles(self, hops: Count, packet_flits: Count, link_cycles: Count | None = None) -> Count:
        """Latency of one packet alone, creation to tail ejection: numbers or arrays of them.

        `link_cycles` is the length of all links on the way together, one cycle each if not given. Exact while the
        buffer covers the credit round trip, the switch and the crossbar take one cycle each and there is no internal
        speedup; else a lower bound, since flits then wait for credits, or for the batch before them.
        """
        steps = self.routing_delay + self._allocation_delay + self.crossbar_delay
        stages = 1 + math.floor((steps - 1) / self.internal_speedup)
        if link_cycles is None:
            link_cycles = hops
        return stages * (hops + 1) + link_cycles + 3 + packet_flits - 1

    def alone_cycles(self, ways: Ways, packet_flits: Ints) -> Ints:
        """`zero_load_cycles` of packets on ways that may have slow links.

        There the flits fall apart; in every router behind they catch up what the head takes to get its route and VC.
        """
        spread = (packet_flits - 1) * (ways.interval - 1)
        catch_up = (self.routing_delay + self._allocation_delay - self.sw_alloc_delay) * ways.behind
        return self.zero_load_cycles(ways.links, packet_flits, ways.link_cycles) + np.maximum(spread - catch_up, 0)

    @property
    def _allocation_delay(self) -> int:
        return self.sw_alloc_delay if self.speculative else self.vc_alloc_delay + self.sw_alloc_delay

    @classmethod
    def parse(cls, text: str, origin: str = "config") -> tuple[Router, dict[str, str | int | float]]:
        """A router from `key = value;` lines with // comments, and the network's keys for `exchange.booksim.spec_of`.

        `origin` names the text in errors. Raises ChipError for a line that is none, a key that BookSim2
        has and this model has not, and a value outside the model.
        """
        values: dict[str, Any] = {}
        network: dict[str, str | int | float] = {}
        for key, value in _assignments(text, origin):
            if key in NETWORK_KEYS:
                network[key] = value
            elif key in cls.model_fields:
                values[key] = value
            elif key in _ONLY:
                if value not in _ONLY[key]:
                    modelled = " or ".join(repr(allowed) for allowed in _ONLY[key])
                    raise ChipError(f"router {origin!r}: {key} = {value!r} is not modelled; only {modelled} is.")
            elif key not in _ELSEWHERE:
                raise ChipError(f"router {origin!r}: {key} is not an option that this simulator knows. Remove it.")
        return cls.of(values, origin), network

    @classmethod
    def of(cls, values: dict[str, Any], origin: str = "router") -> Router:
        """A router from its options. Raises ChipError."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(
                ".".join(map(str, p["loc"])) + (": " if p["loc"] else "") + p["msg"].removeprefix("Value error, ")
                for p in error.errors()
            )
            raise ChipError(f"router {origin!r}: {problems}.") from error

    @classmethod
    def load(cls, path: str | Path) -> tuple[Router, dict[str, str | int | float]]:
        """`parse` of a file. Raises ChipError."""
        return cls.parse(read_text(path), str(path))


_FORM = "Write every option as `key = value;`."


def _assignments(text: str, origin: str) -> list[tuple[str, str | int | float]]:
    """(key, value) of every `key = value;`, in order."""
    found = []
    bare = re.sub(r"//[^\n]*", "", text)
    statements = bare.split(";")
    if statements[-1].strip():
        raise ChipError(f"router {origin!r}: {_beginning(statements[-1])!r} does not end with ';'. {_FORM}")
    for statement in statements[:-1]:
        match = re.fullmatch(r"\s*([A-Za-z_][\w\-/.]*)\s*=\s*(\S+|\{.*\})\s*", statement, re.DOTALL)
        if match is None:
            raise ChipError(f"router {origin!r}: cannot read {_beginning(statement)!r}. {_FORM}")
        key, word = match.groups()
        value: str | int | float = word
        if re.fullmatch(r"-?\d{1,18}", word):  # Python refuses thousands of digits; no option has as many as 18
            value = int(word)
        elif re.fullmatch(r"-?(\d*\.)?\d+([eE][+-]?\d+)?", word):
            value = float(word)
        found.append((key, value))
    return found


def _beginning(statement: str) -> str:
    """The first line of a statement: without its semicolon it may be the whole file."""
    return statement.strip().partition("\n")[0][:80]
