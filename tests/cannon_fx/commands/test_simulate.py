"""`cannon simulate` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import start

from cannon_fx.hw.analytic import analytic_makespan
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.exchange.siam import to_siam_trace
from cannon_fx.hw.network_spec import NetworkSpec
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.traffic import Packets, synthetic

DATA = Path(__file__).parents[2] / "data" / "noc"
BOOKSIM: dict[str, Any] = json.loads((DATA / "booksim.json").read_text("utf-8"))
SMALL = sorted(set(BOOKSIM["trace_cases"]) - {"uniform_0.1_1flit_8x8", "dense_rows01_to_rows23_8x8"})

Cannon = Callable[..., int]
Output = pytest.CaptureFixture[str]


def config(name: str, **more: object) -> str:
    return "".join(f"{key} = {value};\n" for key, value in (BOOKSIM["configs"][name] | more).items())


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("name", ["A_default", "B_siam_like"])
def test_reference_traces(case: str, name: str, cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    """BookSim2's makespan and latency, its own configuration, exactly the promised keys."""
    (tmp_path / "router.cfg").write_text(config(name))
    words = ("--trace", str(DATA / f"{case}.txt"), "--mesh", "8x8", "--router", "router.cfg")
    assert cannon("simulate", *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "makespan_cycles", "mean_packet_latency_cycles", "flits", "flit_hops", "analytic_makespan_cycles", "seconds",
    ]  # fmt: skip
    reference = BOOKSIM["trace_cases"][case]["results"][name]
    assert found["makespan_cycles"] == reference["makespan"]
    assert found["mean_packet_latency_cycles"] == pytest.approx(reference["packet_latency_avg"], rel=1e-5)
    packets, spec = Packets.load(DATA / f"{case}.txt"), NetworkSpec("mesh", 8, 8)
    assert found["flits"] == packets.flits.sum()
    assert found["flit_hops"] == (spec.build().hops(packets.source, packets.target) * packets.flits).sum()
    assert found["analytic_makespan_cycles"] > 0
    assert 0 < found["seconds"] < 5


def test_the_size_and_the_topology_may_come_from_the_configuration(
    cannon: Cannon, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "trace.txt").write_text("0 0 7 1\n")
    hops = {}
    for topology in ("mesh", "torus"):
        (tmp_path / "router.cfg").write_text(config("A_default", k=8, topology=topology))
        assert cannon("simulate", "--trace", "trace.txt", "--router", "router.cfg", "--json") == 0
        hops[topology] = json.loads(capsys.readouterr().out)["flit_hops"]
    assert hops == {"mesh": 7, "torus": 1}
    assert cannon("simulate", "--trace", "trace.txt", "--router", "router.cfg", "--topology", "mesh", "--json") == 0
    assert json.loads(capsys.readouterr().out)["flit_hops"] == 7


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ((), NetworkSpec("mesh", 4, 4)),
        (("--routing", "yx"), NetworkSpec("mesh", 4, 4, "yx")),
        (("--topology", "ring"), NetworkSpec("ring", 4, 4)),
        (("--topology", "torus"), NetworkSpec("torus", 4, 4)),
        (("--topology", "cmesh"), NetworkSpec("cmesh", 4, 4)),
        (("--topology", "tree", "--arity", "2"), NetworkSpec("tree", 4, 4, arity=2)),
        (
            ("--topology", "chiplets", "--block", "2x4", "--package-cycles", "3", "--package-interval", "2"),
            NetworkSpec("chiplets", 4, 4, block=(2, 4), package_cycles=3, package_interval=2),
        ),
    ],
    ids=lambda value: value.topology if isinstance(value, NetworkSpec) else "",
)
def test_synthetic_traffic_on_every_topology(
    words: tuple[str, ...], spec: NetworkSpec, cannon: Cannon, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "router.cfg").write_text(config("A_default"))
    traffic = ("--rate", "0.1", "--pattern", "transpose", "--packet-flits", "2", "--cycles", "300", "--seed", "5")
    assert cannon("simulate", *traffic, "--mesh", "4x4", "--router", "router.cfg", *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    packets, network = synthetic("transpose", 16, 0.1, 2, 300, 5), spec.build()
    router = Chip.load("siam-32nm").noc.router.model_copy(update={"num_vcs": 16, "vc_buf_size": 8})
    expected = simulate(packets, network, router)
    assert found["makespan_cycles"] == expected.makespan_cycles
    assert found["mean_packet_latency_cycles"] == expected.mean_packet_latency_cycles
    assert found["analytic_makespan_cycles"] == analytic_makespan(packets, network, router)


def test_a_chip_brings_its_router_size_and_topology(cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    data = Chip.load("chiplet-2.5d").dump()
    data["noc"] |= {"columns": 8, "rows": 4}
    sections = {key: value for key, value in data.items() if isinstance(value, dict)}
    toml = "".join(f"{key} = {json.dumps(value)}\n" for key, value in data.items() if key not in sections)
    (tmp_path / "chip.toml").write_text(toml + "".join(table(key, value) for key, value in sections.items()))
    (tmp_path / "trace.txt").write_text("0 0 7 1\n")
    assert cannon("simulate", "--trace", "trace.txt", "--router", "chip.toml", "--json") == 0
    crossing = json.loads(capsys.readouterr().out)["makespan_cycles"]
    assert cannon("simulate", "--trace", "trace.txt", "--mesh", "8x4", "--json") == 0
    # 16 cycles, not one, from chiplet to chiplet.
    assert crossing - json.loads(capsys.readouterr().out)["makespan_cycles"] == 15


def table(name: str, content: dict[str, Any]) -> str:
    """A TOML table, its tables after its values."""
    inner = {key: value for key, value in content.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in content.items() if key not in inner]
    return "\n".join([f"[{name}]", *lines, *(table(f"{name}.{key}", value) for key, value in inner.items())]) + "\n"


def test_siam_traces_and_matrices_are_the_same_packets(cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "matrix.csv").write_text("0,2,0,1\n0,0,0,0\n3,0,0,0\n0,0,0,0\n")
    packets = Packets.of_rows([(0, 0, 1, 1), (0, 0, 3, 1), (0, 2, 0, 1), (0, 0, 1, 1), (0, 2, 0, 1), (0, 2, 0, 1)])
    (tmp_path / "ours.txt").write_text(packets.dump())
    (tmp_path / "siam.txt").write_text(to_siam_trace(packets))
    found = []
    for words in (
        ("--matrix", "matrix.csv"),
        ("--trace", "ours.txt"),
        ("--trace", "siam.txt", "--trace-format", "siam"),
    ):
        assert cannon("simulate", *words, "--mesh", "2x2", "--json") == 0
        found.append(json.loads(capsys.readouterr().out) | {"seconds": 0})
    assert found[0] == found[1] == found[2]


def test_tables_for_people(cannon: Cannon, capsys: Output) -> None:
    assert cannon("simulate", "--trace", str(DATA / "merge2_1flit_8x8.txt"), "--mesh", "8x8") == 0
    out = capsys.readouterr().out
    for words in ("634 cycles (simulated)", "(analytic)", "335.50 cycles", "waiting at the source", "busiest links"):
        assert words in out
    assert cannon("simulate", "--rate", "0", "--mesh", "2x2") == 0
    assert "0 packets" in capsys.readouterr().out


def test_exports(cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    traffic = ("--rate", "0.2", "--cycles", "50", "--mesh", "4x4")
    names = ("trace", "siam", "booksim", "noxim", "tt-npe", "perfetto")
    assert cannon("simulate", *traffic, "--json", "--export", *(f"{name}:{name}.out" for name in names)) == 0
    first = json.loads(capsys.readouterr().out)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.out" for name in names}
    assert cannon("simulate", "--trace", "trace.out", "--router", "booksim.out/booksim.cfg", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again | {"seconds": 0} == first | {"seconds": 0}
    spans = [e for e in json.loads((tmp_path / "perfetto.out").read_text())["traceEvents"] if e["ph"] == "X"]
    assert max(span["ts"] + span["dur"] for span in spans) == pytest.approx(first["makespan_cycles"] / 1000)


MESH = ("--mesh", "4x4")
RATE = ("--rate", "0.1")
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing to simulate": (MESH, "say what to simulate"),
    "two things to simulate": ((*MESH, *RATE, "--trace", "good.txt"), "say what to simulate"),
    "no size": (RATE, "Give --mesh COLUMNSxROWS"),
    "size that is none": ((*RATE, "--mesh", "4by4"), "--mesh '4by4' is not of the form"),
    "empty mesh": ((*RATE, "--mesh", "0x4"), "a network of 0 x 4 nodes"),
    "huge mesh": ((*RATE, "--mesh", "9999x9999"), "at most 65536 nodes"),
    "source outside": ((*MESH, "--trace", "outside.txt"), "line 1: source is 16, not from 0 to 15"),
    "target outside": ((*MESH, "--trace", "target.txt"), "line 2: target is 99, not from 0 to 15"),
    "broken line": ((*MESH, "--trace", "broken.txt"), "broken.txt, line 2: '0 1 2' is no row of 4 whole numbers"),
    "negative time": ((*MESH, "--trace", "negative.txt"), "negative.txt, line 1: time is -1"),
    "no flits": ((*MESH, "--trace", "empty.txt"), "empty.txt, line 1: flits is 0"),
    "absent trace": ((*MESH, "--trace", "nowhere.txt"), "cannot read 'nowhere.txt': No such file"),
    "binary trace": ((*MESH, "--trace", "binary.txt"), "it is no text in UTF-8"),
    "matrix of the wrong size": ((*MESH, "--matrix", "matrix.csv"), "the network has 16 nodes"),
    "unknown pattern": ((*MESH, *RATE, "--pattern", "hotspot"), "unknown traffic pattern 'hotspot'"),
    "pattern that does not fit": ((*RATE, "--mesh", "3x3", "--pattern", "transpose"), "even power of two"),
    "pattern that is not square": ((*RATE, "--mesh", "16x4", "--pattern", "tornado"), "square networks, not 16 x 4"),
    "NaN": ((*MESH, "--rate", "nan"), "rate nan"),
    "negative rate": ((*MESH, "--rate", "-1"), "rate -1"),
    "more than one flit per cycle": ((*MESH, "--rate", "1.5"), "sends from 0 to 1 flits per cycle"),
    "a trace has no pattern": ((*MESH, "--trace", "good.txt", "--pattern", "tornado"), "--pattern is for --rate"),
    "a pattern has no format": ((*MESH, *RATE, "--trace-format", "siam"), "--trace-format is for --trace"),
    "a mesh has no arity": ((*MESH, *RATE, "--arity", "3"), "--arity is for tree, and this is a mesh"),
    "a packet without end": ((*MESH, *RATE, "--packet-flits", "9999999999"), "give from 1 to 2147483647"),
    "one path twice": ((*MESH, *RATE, "--export", "trace:a", "siam:a"), "another export goes to that path"),
    "negative seed": ((*MESH, *RATE, "--seed", "-1"), "seed -1"),
    "too many cycles": ((*MESH, "--rate", "0", "--cycles", "999999999999"), "give from 0 to"),
    "too many packets": ((*MESH, "--rate", "1", "--cycles", "9999999"), "are about 159999984 packets"),
    "unknown router": ((*MESH, *RATE, "--router", "fast"), "--router 'fast' is no file and no chip"),
    "router option": ((*MESH, *RATE, "--router", "odd.cfg"), "odd.cfg"),
    "not a configuration": ((*MESH, *RATE, "--router", "good.txt"), "'0 0 1 1' does not end with ';'"),
    "unknown topology in the file": ((*RATE, "--router", "fly.cfg"), "topology = fly"),
    "too few VCs": ((*MESH, *RATE, "--topology", "torus"), "Raise num_vcs"),
    "routing": ((*MESH, *RATE, "--topology", "ring", "--routing", "yx"), "is for meshes"),
    "block": ((*MESH, *RATE, "--topology", "cmesh", "--block", "3x3"), "cannot be cut into routers of 3 x 3"),
    "unknown format": ((*MESH, *RATE, "--export", "vhdl:x"), "is not FORMAT:PATH"),
    "no folder": ((*MESH, *RATE, "--export", "trace:nowhere/x"), "there is no folder 'nowhere'"),
    "format for another network": (("--mesh", "4x2", *RATE, "--export", "booksim:x"), "BookSim2 has no mesh of 4 x 2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    """One paragraph, status 2, no traceback, nothing written."""
    for name, text in {
        "good.txt": "0 0 1 1\n", "outside.txt": "0 16 1 1\n", "target.txt": "0 0 1 1\n0 0 99 1\n",
        "broken.txt": "0 0 1 1\n0 1 2\n", "negative.txt": "-1 0 1 1\n", "empty.txt": "0 0 1 0\n",
        "matrix.csv": "0 1\n1 0\n", "odd.cfg": "num_vcs = 0;\n", "fly.cfg": "topology = fly;\nk = 4;\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    before = set(tmp_path.iterdir())
    words, expected = MISTAKES[mistake]
    assert cannon("simulate", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("cannon: ")
    assert expected in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


def test_ctrl_c(tmp_path: Path) -> None:
    """While the compiled loop runs; one packet keeps it busy for minutes."""
    (tmp_path / "trace.txt").write_text("0 0 1 2000000000\n")
    process = start(tmp_path, "simulate", "--mesh", "2x1", "--trace", "trace.txt")
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("cannon: stopped; nothing was written.\n")
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["trace.txt"]


def test_neither_help_nor_simulation_needs_torch() -> None:
    code = (
        "import sys; import cannon_fx.cli; assert not {'torch', 'numba', 'numpy'} & set(sys.modules); "
        "import cannon_fx.exports, cannon_fx.hw.simulator; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
