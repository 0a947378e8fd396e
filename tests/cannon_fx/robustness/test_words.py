"""Command lines that make no sense: the command works, or says in one paragraph why it does not."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.cli import main
from cannon_fx.errors import RunError

COMMANDS = [
    "chips siam-32nm",
    "map --chip demo-32nm --group-size 4 --targets block1.* head --ignore re:.*conv2 --order snake",
    "map --model torch.nn:Flatten() --input-shape 3 8 8 --export trace:out.txt",
    "map --network-csv table.csv --dialect siam --latency analytic",
    "simulate --trace trace.txt --mesh 4x4 --router siam-32nm --topology cmesh --block 2x2",
    "simulate --rate 0.1 --pattern uniform --packet-flits 4 --cycles 100 --seed 0 --mesh 4x4 --arity 4",
    "simulate --matrix matrix.csv --mesh 2x1 --package-cycles 1 --export siam:out.txt",
    "sweep --vary noc.flit_bits=16,32 link_mm=1:2:3 --csv out.csv",
    "sweep --vary chip=siam-32nm,isaac noc.flit_bits=16:64:4 --plot out.svg",
    "optimize --budget energy/3 --epochs 2 --batch-size 64 --learning-rate 0.05 --seed 0 --device cpu --out o",
    "optimize --model cannon_fx.networks:digits_net --base-weights w.pt --data npz:data.npz --methods dense",
    "compare --networks cannon_fx.networks:digits_net --chips demo-32nm --budgets energy/3 --seeds 1 --out c",
    "compare --config config.toml",
    "zoo --list torchvision --json z.json --chip siam-32nm --timeout 1",
]  # fmt: skip
FILES = {
    "trace.txt": "0 0 1 4\n",
    "matrix.csv": "0 1\n2 0\n",
    "table.csv": "8,8,3,3,3,8,1,0\n4,4,8,3,3,8,1,0\n1,1,32,1,1,10,0,0\n",
}
WORDS = [
    "", " ", "-", "--", "-x", "é", "\udce9", "0", "-1", "3", "nan", "inf", "1e999", "9" * 30, "9" * 5000, "x" * 5000,
    "a\nb", "[", "re:(", "re:", "*", "=", "a=b=c", "a=", "a=1:2:3:log", "a=0:0:2:log", ":", "x:y:z", "torch:nn",
    "os:getcwd", "trace:", "trace:.", "/", ".", "..", "~", "nowhere/x", "energy/0.5", "energy/1e9", "edp=0", "0x0",
    "1x1", "3x2", "npz:.", "cifar10:.", "demo-32nm", "table.csv", "trace.txt", "--resume", "--json", "--help-me",
    "chip=a,b", "link_mm=-1", "noc.flit_bits=true", "noc.router.num_vcs=1.5", "cuda:99", "meta",
]  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with one or two of its words replaced, taken out or added."""
    words = draw(st.sampled_from(COMMANDS)).split()
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(1, len(words)))
        other = draw(st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="\0/~"), max_size=6))
        words[place : place + draw(st.sampled_from([0, 1, 1, 1]))] = draw(st.sampled_from([[other], [other], []]))
    return words


def no_training(*_: object) -> NoReturn:
    raise RunError("this test trains nothing.")


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs as it stands, and none ends in a traceback whatever its words become."""
    monkeypatch.chdir(tmp_path)
    for name in ("cannon_fx.run.Run.execute", "cannon_fx.compare.runs.execute", "cannon_fx.zoo.run.run_list"):
        monkeypatch.setattr(name, no_training)

    @given(command_lines())
    @settings(max_examples=150, deadline=None)
    def check(words: list[str]) -> None:
        for name, text in FILES.items():
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(sys, "argv", ["cannon", *words])
        status: object = 0
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as printed:
            try:
                main()
            except SystemExit as stop:
                status = stop.code
        told = printed.getvalue()
        assert status in (0, None) or (status == 2 and told)
        if told.startswith("cannon: "):  # otherwise the parser's own message, a box
            assert len(told.splitlines()) == 1, told
            assert len(told) < 2000, told

    check()
