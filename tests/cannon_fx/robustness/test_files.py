"""Files that nobody vouches for: whatever a file holds, reading it works or ends in one clear paragraph."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cannon_fx import CannonError, Chip, ChipError, apply_cannon, load
from cannon_fx.checkpoint import CHECKPOINT
from cannon_fx.commands.compare import Compare
from cannon_fx.commands.optimize import Optimize
from cannon_fx.compare.config import CompareConfig, Job
from cannon_fx.compare.runs import finished
from cannon_fx.data import load_data
from cannon_fx.factory import load_weights
from cannon_fx.hw.exchange.booksim import spec_of
from cannon_fx.hw.exchange.matrix import from_matrix
from cannon_fx.hw.exchange.network_csv import from_network_csv
from cannon_fx.hw.exchange.scale_sim import from_scale_sim
from cannon_fx.hw.exchange.siam import from_siam_trace
from cannon_fx.hw.reading import read_text
from cannon_fx.hw.router import Router
from cannon_fx.hw.traffic import Packets
from cannon_fx.run import Run
from cannon_fx.table_network import TableNetwork
from cannon_fx.zoo.lists import entries_of
from cannon_fx.zoo.run import _read as zoo_rows

DATA = Path(__file__).parents[2] / "data"
NASTY = [
    "", "0", "-1", "1e999", "nan", "inf", "-0.5", "true", "null", '""', "[]", "{}", "x", "é", "\x00", "\n", ",", '"',
    "[", "=", "9" * 5000, "[" * 5000, "{" * 5000, '{"a":' * 5000, "1" * 20, "0x" + "f" * 5000,
]  # fmt: skip


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3))


@cache
def saved_network() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A plan and the weights, as a packed file holds them."""
    network = small_network()
    result = apply_cannon(network, torch.zeros(1, 1, 4, 4), chip="demo-32nm", group_size=4)
    keep = result.modules["3"].pattern.keep
    result.modules["3"].cut(torch.arange(keep.numel()).view_as(keep) % 2 == 0)
    with tempfile.TemporaryDirectory() as folder:
        path = result.save(folder, packed=True)
        with safetensors.safe_open(path, "pt") as file:
            return json.loads(file.metadata()["cannon"]), safetensors.torch.load_file(path)


def archive() -> bytes:
    """A small data set."""
    out, images = io.BytesIO(), np.zeros((6, 4, 4, 1), np.uint8)
    np.savez(out, train_images=images, train_labels=np.arange(6) % 3, test_images=images, test_labels=np.arange(6) % 3)
    return out.getvalue()


def data_of(name: str) -> str:
    """Of a file of the tests' data."""
    return (DATA / name).read_text()


def table(read: Callable[..., Any], *more: Any) -> Callable[[Path], object]:
    """The reader of a table, and of the network that it describes."""

    def read_network(path: Path) -> None:
        with torch.device("meta"):
            TableNetwork(read(read_text(path), *more, origin=str(path)), str(path))

    return read_network


def read_record(path: Path) -> None:
    (path.parent / "report.json").write_bytes(path.read_bytes())
    finished(Job(".", Optimize().config()), path.parent)


TEXTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "chip": (Chip.text_of("chiplet-2.5d"), Chip.load),
    "comparison": (Compare().settings().toml(), CompareConfig.read),
    "trace": ("# a comment\n0 0 1 4\n5 3 2 1\n", Packets.load),
    "SIAM trace": ("0 1 1\n3 2 5\n", lambda path: from_siam_trace(read_text(path), str(path))),
    "matrix": ("0 1\n2 0\n", lambda path: from_matrix(read_text(path), 2, str(path))),
    "router": (
        "num_vcs = 4; // VCs\nvc_buf_size = 8;\ntopology = mesh;\nk = 8;\n",
        lambda path: spec_of(Router.load(path)[1]),
    ),
    "NeuroSim table": (data_of("exchange/NetWork_neurosim.csv"), table(from_network_csv, "neurosim")),
    "SIAM table": (data_of("exchange/NetWork_siam.csv"), table(from_network_csv, "siam")),
    "SCALE-Sim table": (data_of("exchange/scale_sim.csv"), table(from_scale_sim)),
    "run's record": ('{"schema": 1, "methods": {"dense": {"energy_pj": 1.5}}, "history": []}', read_record),
    "zoo result": (
        '{"schema": 1, "chip": "siam-32nm", "rows": [{"model": "m", "ok": true}]}',
        lambda path: zoo_rows(path, "siam-32nm"),
    ),
    "zoo list": ("torch.nn:Linear(4, 2) float[2,4] flag=True ids=int[2,3]<10\n", lambda path: entries_of(str(path))),
}


def told_in_one_paragraph(read: Callable[[], object]) -> None:
    try:
        read()
    except (CannonError, ChipError) as error:
        message = str(error)
        assert "\n" not in message, message
        assert message.endswith("."), message


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """`text` with a few pieces replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + draw(st.sampled_from(NASTY) | st.text(max_size=6)) + text[end:]
    return text


@pytest.mark.parametrize("name", TEXTS)
def test_text_files(name: str, tmp_path: Path) -> None:
    valid, read = TEXTS[name]
    path = tmp_path / "file.toml"
    path.write_text(valid)
    read(path)

    @given(damaged(valid))
    @settings(max_examples=100, deadline=None)
    def check(text: str) -> None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        told_in_one_paragraph(lambda: read(path))

    check()


@st.composite
def damaged_values(draw: st.DrawFn, value: Any) -> Any:
    """Plain data with one part replaced, taken out or added."""
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        change = draw(st.sampled_from(["deeper", "deeper", "deeper", "remove", "add"]))
        if change == "deeper":
            return value | {key: draw(damaged_values(value[key]))}
        return {k: v for k, v in value.items() if k != key} if change == "remove" else value | {draw(st.text()): 1}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(damaged_values(value[index])), *value[index + 1 :]]
    return draw(plain | st.integers(-3, 10**13) | st.sampled_from(["0g", "ff", "int4", "float16", "demo-32nm"]))


@given(st.deferred(lambda: damaged_values(saved_network()[0])))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plans(tmp_path: Path, plan: Any) -> None:
    path = tmp_path / "packed.safetensors"
    safetensors.torch.save_file(saved_network()[1], path, {"cannon": json.dumps(plan)})
    told_in_one_paragraph(lambda: load(path, small_network()))


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A few bytes changed, or the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.integers(0, len(changed)) | st.just(len(changed)))])


def checkpoint(folder: Path) -> bytes:
    """What a stopped run leaves."""

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    run = Run(Optimize(epochs=2, dense_epochs=1, batch_size=1024).config(), "cannon")
    with contextlib.suppress(Stop):
        run.execute(folder, stop)
    return (folder / CHECKPOINT).read_bytes()


@pytest.fixture(scope="module")
def binary_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    plan, weights = saved_network()
    run, state = Run(Optimize(epochs=2, dense_epochs=1, batch_size=1024).config(), "cannon"), io.BytesIO()
    torch.save(small_network().state_dict(), state)
    return {
        "data.npz": (archive(), lambda path: load_data(f"npz:{path}")),
        "weights.safetensors": (
            safetensors.torch.save(weights, {"cannon": json.dumps(plan)}),
            lambda path: load(path, small_network()),
        ),
        "weights.pt": (state.getvalue(), lambda path: load_weights(small_network(), path)),
        CHECKPOINT: (checkpoint(tmp_path_factory.mktemp("run")), lambda path: run.resume(path.parent)),
    }


@pytest.mark.parametrize("name", ["data.npz", "weights.safetensors", "weights.pt", CHECKPOINT])
def test_binary_files(
    name: str, binary_files: dict[str, tuple[bytes, Callable[[Path], object]]], tmp_path: Path
) -> None:
    valid, read = binary_files[name]
    path = tmp_path / name
    path.write_bytes(valid)
    read(path)

    @given(damaged_bytes(valid))
    @settings(max_examples=80, deadline=None)
    def check(content: bytes) -> None:
        path.write_bytes(content)
        told_in_one_paragraph(lambda: read(path))

    check()
