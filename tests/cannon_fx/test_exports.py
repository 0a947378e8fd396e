"""What a plan writes for other tools: its packets carry the plan's flits, phase by phase."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import Chip, ChipError, RunError, plan
from cannon_fx.cost import all_transfers
from cannon_fx.exports import Export
from cannon_fx.hw.exchange.siam import from_siam_trace
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.traffic import Packets
from cannon_fx.plan_exports import PLAN_FORMATS, traffic_of
from cannon_fx.plans import Plan


@pytest.fixture
def mapped(network: nn.Module, image: Tensor) -> Plan:
    return plan(network, image, chip="demo-32nm", group_size=4)


def write(found: Plan, folder: Path, name: str) -> Path:
    (export,) = Export.parse([f"{name}:{folder / 'out'}"], PLAN_FORMATS)
    Export.write_all([export], found)
    return folder / "out"


def test_packets_carry_the_flits_of_every_phase(mapped: Plan) -> None:
    transfers, phases = all_transfers(mapped, mapped.keep())
    traffic = traffic_of(mapped)
    flits = transfers.flits(mapped.chip.noc.flit_bits)
    assert len(traffic.phases) == len(phases)
    for number, phase in enumerate(traffic.phases):
        assert phase.packets.flits.sum() == flits[transfers.phase == number].sum()
    assert traffic.packets.flits.sum() == mapped.cost().communication.flits.sum()
    starts = [phase.start for phase in traffic.phases]
    latency = mapped.cost().communication.latency_cycles
    assert starts == sorted(starts)
    assert all(b - a >= cycles for a, b, cycles in zip(starts, starts[1:], latency, strict=False))


def test_flit_hops_are_the_plans(mapped: Plan, tmp_path: Path) -> None:
    """The simulator walks the written trace over as many links as the cost model counts."""
    folder = write(mapped, tmp_path, "booksim")
    router, keys = Router.parse((folder / "booksim.cfg").read_text())
    assert router == mapped.chip.noc.router
    packets = Packets.parse((folder / "trace.txt").read_text())
    found = simulate(packets, mapped.placed().network, router)
    assert keys["k"] == mapped.placed().grid.columns
    assert found.flit_hops == mapped.cost().communication.flit_hops.sum()


def test_the_port_is_put_on_its_routers_tile(mapped: Plan, tmp_path: Path) -> None:
    network = mapped.placed().network
    packets = Packets.parse(write(mapped, tmp_path, "trace").read_text())
    ours = traffic_of(mapped).phases[0].packets
    assert (ours.source == network.nodes - 1).all()
    assert packets.source[: len(ours)].tolist() == [network.node_router[-1]] * len(ours)
    assert max(packets.source.max(), packets.target.max()) < network.nodes - 1


def test_perfetto_shows_the_simulated_phases(mapped: Plan, tmp_path: Path) -> None:
    events = json.loads(write(mapped, tmp_path, "perfetto").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X" and event["pid"] == 1]
    moving = [phase for phase in traffic_of(mapped).phases if len(phase.packets)]
    assert [span["name"] for span in spans] == [phase.name for phase in moving]
    simulated = [simulate(phase.packets, mapped.placed().network, mapped.chip.noc.router) for phase in moving]
    assert [span["dur"] for span in spans] == pytest.approx([s.makespan_cycles / 1000 for s in simulated])


@pytest.mark.parametrize("name", sorted(PLAN_FORMATS))
def test_every_format_writes_something(mapped: Plan, tmp_path: Path, name: str) -> None:
    path = write(mapped, tmp_path, name)
    files = list(path.iterdir()) if path.is_dir() else [path]
    assert all(file.stat().st_size for file in files)
    write(mapped, tmp_path, name)  # again, over the old ones


def test_siam_tables_and_trace(mapped: Plan, tmp_path: Path) -> None:
    assert len(from_siam_trace(write(mapped, tmp_path, "siam").read_text())) == traffic_of(mapped).packets.flits.sum()
    (tmp_path / "out").unlink()
    folder = write(mapped, tmp_path, "siam-layers")
    tiles = np.loadtxt(folder / "num_tiles_per_layer.csv")
    assert tiles.sum() == mapped.tiles
    rate = float((folder / "fps.csv").read_text())
    assert rate == pytest.approx(1e9 / mapped.cost().latency_cycles)


def test_a_network_of_one_layer() -> None:
    chip = Chip.parse_data(Chip.load("siam-32nm").dump(), "test")
    found = plan(nn.Sequential(nn.Linear(4, 4)), torch.zeros(1, 4), chip=chip)
    assert traffic_of(found).packets.flits.sum() == found.cost().communication.flits.sum()


@pytest.fixture
def nothing() -> Plan:
    """A network without a layer that could be mapped."""
    return plan(nn.Flatten(), torch.zeros(1, 3, 8, 8), chip="demo-32nm")


def test_nothing_moves(nothing: Plan, tmp_path: Path) -> None:
    """Files that their readers find empty."""
    paths = {name: tmp_path / name for name in ("trace", "siam", "booksim", "tt-npe", "perfetto")}
    Export.write_all(Export.parse([f"{name}:{path}" for name, path in paths.items()], PLAN_FORMATS), nothing)
    assert len(Packets.load(paths["trace"])) == 0
    assert len(from_siam_trace(paths["siam"].read_text())) == 0
    assert len(Packets.load(paths["booksim"] / "trace.txt")) == 0
    assert Router.load(paths["booksim"] / "booksim.cfg")[0] == nothing.chip.noc.router
    assert json.loads(paths["tt-npe"].read_text()) == {"phases": []}
    assert {event["ph"] for event in json.loads(paths["perfetto"].read_text())["traceEvents"]} == {"M"}


def test_no_layer(nothing: Plan, tmp_path: Path) -> None:
    """Tables without rows."""
    for name in ("neurosim-csv", "siam-csv"):
        assert write(nothing, tmp_path, name).read_text() == ""
    assert len(write(nothing, tmp_path, "scale-sim").read_text().splitlines()) == 1


@pytest.mark.parametrize(("name", "problem"), [("noxim", "no packets"), ("siam-layers", "no rate")])
def test_formats_that_cannot_be_empty(name: str, problem: str, nothing: Plan, tmp_path: Path) -> None:
    with pytest.raises(ChipError, match=rf"{problem}.* Choose another format"):
        write(nothing, tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ("vhdl:x", "'vhdl:x' is not FORMAT:PATH with one of the formats trace"),
        ("trace", "is not FORMAT:PATH"),
        ("trace:", "is not FORMAT:PATH"),
        ("trace:nowhere/x", "there is no folder 'nowhere'"),
    ],
)
def test_wishes_that_cannot_be(wish: str, problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        Export.parse([wish], PLAN_FORMATS)


def test_a_file_where_a_folder_should_be(mapped: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RunError, match=r"cannot write .*out"):
        write(mapped, tmp_path, "booksim")
    assert (tmp_path / "out").read_text() == "mine"
