"""The command as a user meets it: the run folder, resumption, and one clear paragraph per mistake."""

from __future__ import annotations

import json
import pickle
import signal
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from processes import start

from cannon_fx.checkpoint import Checkpoints
from cannon_fx.commands.optimize import Optimize
from cannon_fx.hw.chip import Chip
from cannon_fx.networks import digits_net

SHORT = ["--epochs", "2", "--dense-epochs", "1", "--batch-size", "256"]


def test_demo_writes_what_it_promises(
    cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cannon("optimize", *SHORT) == 0
    folder = tmp_path / "runs" / "demo"
    assert {p.name for p in folder.iterdir()} == {
        "report.html", "report.json", "metrics.csv", "config.toml", "weights.safetensors",
    }  # fmt: skip
    record = json.loads((folder / "report.json").read_text())
    assert record["schema"] == 1
    assert record["chip"]["name"] == "demo-32nm"
    assert list(record["methods"]) == ["dense", "cost-blind", "cannon"]
    for method in record["methods"].values():
        assert 0 <= method["accuracy"] <= 1
        assert method["edp_pj_cycles"] == pytest.approx(method["energy_pj"] * method["latency_cycles"])
        assert method["latency_model"] == "analytic"
        assert sum(method["energy_shares_pj"].values()) == pytest.approx(method["energy_pj"])
        parts = method["layers"] + method["moves"]
        assert sum(part["energy_pj"] for part in parts) == pytest.approx(method["energy_pj"])
    dense = record["methods"]["dense"]
    assert dense["density"] == 1
    for name in ("cost-blind", "cannon"):
        assert record["methods"][name]["energy_pj"] <= dense["energy_pj"] / 3
    assert tomllib.loads((folder / "config.toml").read_text())["seed"] == 0
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 1 + 3 * 2
    digits_net().load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"), strict=True)
    assert "cannon" in capsys.readouterr().out


def timeless(folder: Path) -> tuple[Any, Any]:
    """A run's results and history without the seconds."""
    record = json.loads((folder / "report.json").read_text())
    for row in [*record["methods"].values(), *record["history"]]:
        del row["seconds"]
    return record["methods"], record["history"]


def own_network(folder: Path) -> None:
    """A user's module and data set in the current folder."""
    (folder / "mynet.py").write_text(
        "import torch\n"
        "def net():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(),\n"
        "                               torch.nn.Linear(8 * 36, 3))\n"
        "def number():\n    return 3\n"
        "def loud():\n    raise KeyError('gone')\n"
        "class Branch(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__(); self.fc = torch.nn.Linear(3, 3)\n"
        "    def forward(self, x):\n        return self.fc(x.mean((2, 3))) if x.sum() > 0 else x\n"
        "def few():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))\n"
        "def flat():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))\n"
        "def frozen():\n    return net().requires_grad_(False)\n"
    )
    rng = np.random.default_rng(0)
    np.savez(
        folder / "data.npz",
        train_images=rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8),
        train_labels=np.arange(60) % 3,
        test_images=rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8),
        test_labels=np.arange(30) % 3,
    )


OWN = ["--model", "mynet:net", "--data", "npz:data.npz", "--chip", "demo-32nm"]


def test_own_network_and_data(cannon: Callable[..., int], tmp_path: Path) -> None:
    own_network(tmp_path)
    assert cannon("optimize", *OWN, "--epochs", "2", "--budget", "energy/1.5", "--out", "o") == 0
    record = json.loads((tmp_path / "o" / "report.json").read_text())
    assert list(record["methods"]) == ["dense", "cannon"]
    assert record["network"] == "mynet:net"
    assert cannon("map", *OWN) == 0


def test_map_prints_every_layer_and_writes_nothing(
    cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cannon("map", "--ignore", "head") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("stem.0", "block1.conv1", "hidden", "not mapped: head: ignored on request"))
    assert list(tmp_path.iterdir()) == []


MISTAKES = {
    "unknown chip": (["--chip", "siam-23nm"], "unknown chip 'siam-23nm'. Did you mean 'siam-32nm'"),
    "chip with an unknown key": (["--chip", "odd.toml"], "noc.colour is not a key"),
    "chip with a negative size": (["--chip", "negative.toml"], "crossbar.rows"),
    "too few tiles": (["--chip", "small.toml"], "has 2 x 2 = 4"),
    "zero epochs": (["--epochs", "0"], "epochs is 0: give at least 2"),
    "negative batch": (["--batch-size", "-1"], "batch_size is -1"),
    "zero group": (["--group-size", "0"], "group_size is 0"),
    "pattern": (["--ignore", "haed"], "ignore pattern 'haed' matches none of the 8 layers. Near names: head"),
    "regular expression": (["--targets", "re:("], "is no regular expression"),
    "input of the wrong shape": (
        ["--model", "mynet:net", "--data", "digits"],
        "cannot be captured with an input of shape [1, 1, 8, 8]",
    ),
    "model that branches on values": (["--model", "mynet:Branch", "--data", "npz:data.npz"], "cannot be captured"),
    "fewer outputs than classes": (["--model", "mynet:few", "--data", "npz:data.npz"], "has 2 outputs, but"),
    "output that is no logits": (["--model", "mynet:flat", "--data", "npz:data.npz"], "one tensor [1, classes]"),
    "frozen network": (["--model", "mynet:frozen", "--data", "npz:data.npz"], "every parameter of mynet:frozen is"),
    "last batch of one": (["--batch-size", "1197"], "leaves 1 of 1198 images"),
    "more parts than images": (["--accumulate", "50"], "of 1198 images for the last batch, too few for 50 x 1"),
    "zero parts": (["--accumulate", "0"], "accumulate is 0: give at least 1"),
    "more than all of the loss": (["--distill", "1.5"], "distill is 1.5: give a share of the loss, from 0 to 1"),
    "seed too large": (["--seed", "99999999999999999999"], "below 2^63"),
    "folder name too long": (["--out", "x" * 300], "cannot make the output folder"),
    "chip too large": (["--chip", "large.toml"], "more than 65536 routers"),
    "port far away": (["--chip", "port.toml"], "noc.port"),
    "learning rate that diverges": (
        ["--learning-rate", "1e9", "--dense-epochs", "0", "--checkpoint-seconds", "inf"],
        "the loss became",
    ),
    "model that is none": (["--model", "mynet:number", "--data", "digits"], "gave a int"),
    "model that raises": (["--model", "mynet:loud", "--data", "digits"], "KeyError: 'gone'"),
    "model that is not there": (["--model", "nowhere:net", "--data", "digits"], "No module named 'nowhere'"),
    "model without a factory": (["--model", "mynet", "--data", "digits"], "package.module:factory"),
    "model without data": (["--model", "mynet:net"], "--model was given without --data"),
    "unreadable data": (["--data", "npz:torn.npz"], "torn.npz"),
    "absent data": (["--data", "cifar10:nowhere"], "nowhere"),
    "budget that is none": (["--budget", "energy*3"], "budget 'energy*3' is not understood"),
    "infeasible budget": (["--budget", "energy/500"], "cannot be met"),
    "existing folder": (["--out", "taken"], "the output folder 'taken' exists already"),
    "nothing to resume": (["--out", "taken", "--resume"], "there is no unfinished run in 'taken'"),
    "unknown device": (["--device", "gpu9"], "device 'gpu9' cannot be used here"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One paragraph that says what, where and what to do; status 2; no traceback; nothing written or lost."""
    own_network(tmp_path)
    text = (Path(__file__).parent.parent.parent / "hw" / "chips" / "demo-32nm.toml").read_text()
    (tmp_path / "odd.toml").write_text(text.replace("flit_bits", "colour = 3\nflit_bits"))
    (tmp_path / "negative.toml").write_text(text.replace("rows = 64", "rows = -64"))
    (tmp_path / "small.toml").write_text(text.replace("[noc.router]", "columns = 2\nrows = 2\n\n[noc.router]"))
    (tmp_path / "large.toml").write_text(text.replace("[noc.router]", "columns = 9999\nrows = 9999\n\n[noc.router]"))
    (tmp_path / "port.toml").write_text(text.replace("port = [0, 0]", "port = [99999, 0]"))
    Chip.parse(text, "the chip that the mistakes are made in")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:1000])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious.txt").write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "__pycache__" not in str(p)}

    words, expected = MISTAKES[mistake]
    assert cannon("optimize", "--out", "fresh", *words) == 2

    printed = capsys.readouterr()
    assert printed.err.startswith("cannon: ")
    assert expected in printed.err
    assert "Traceback" not in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "fresh").exists()
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "__pycache__" not in str(p)}


def test_ctrl_c_keeps_the_checkpoint_and_resume_ends_the_same(tmp_path: Path) -> None:
    """A run that is interrupted in the middle of a retraining, then resumed, equals one that was not."""
    words = ["optimize", "--epochs", "4", "--dense-epochs", "1", "--batch-size", "128", "--methods", "dense", "cannon"]
    stopped = start(tmp_path, *words, "--out", "stopped")
    assert stopped.stdout is not None
    for line in stopped.stdout:
        if line.startswith("cannon ") and " 2/4 " in line:
            stopped.send_signal(signal.SIGINT)
            break
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "Traceback" not in err
    assert "--out stopped --resume" in err
    assert (tmp_path / "stopped" / "checkpoint.pt").exists()

    wrong = start(tmp_path, *words, "--out", "stopped", "--resume", "--seed", "1")
    assert "was started with seed = 0, now it is 1" in wrong.communicate(timeout=60)[1]
    assert wrong.returncode == 2

    for out in (("stopped", "--resume"), ("straight",)):
        done = start(tmp_path, *words, "--out", *out)
        _, err = done.communicate(timeout=120)
        assert done.returncode == 0, err
    a, b = (safetensors.torch.load_file(tmp_path / name / "weights.safetensors") for name in ("stopped", "straight"))
    assert all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "straight")


def test_killed_at_any_step_and_resumed_it_ends_the_same(
    cannon: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint after every step: five steps and the end of each of 1 + 2 + 2 epochs."""
    words = [*SHORT, "--methods", "dense", "cannon", "--budget", "energy/2", "--checkpoint-seconds", "0"]
    wrote, count, kill = Checkpoints.write, 0, 0

    def write_and_stop(self: Checkpoints, state: dict[str, Any]) -> None:
        nonlocal count
        wrote(self, state)
        count += 1
        if count == kill:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "write", write_and_stop)
    assert cannon("optimize", *words, "--out", "straight") == 0
    weights = safetensors.torch.load_file(tmp_path / "straight" / "weights.safetensors")
    assert count == 5 * 6
    for kill in (3, 18, 23, 30):  # in base, at the end of dense, in cannon, at the end
        count, folder = 0, f"stopped{kill}"
        assert cannon("optimize", *words, "--out", folder) == 2
        assert cannon("optimize", *words, "--out", folder, "--resume") == 0
        assert timeless(tmp_path / folder) == timeless(tmp_path / "straight")
        resumed = safetensors.torch.load_file(tmp_path / folder / "weights.safetensors")
        assert all(torch.equal(resumed[key], weights[key]) for key in resumed.keys() | weights.keys())


def test_killed_before_the_first_checkpoint_it_begins_again(
    cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SHORT, "--methods", "dense", "--dense-epochs", "0", "--out", "o"]
    assert cannon("optimize", *words) == 0
    for name in ("report.html", "report.json", "metrics.csv", "weights.safetensors"):
        (tmp_path / "o" / name).unlink()
    assert cannon("optimize", *words, "--resume", "--seed", "1") == 2
    assert "was started with seed = 0, now it is 1" in capsys.readouterr().err
    assert cannon("optimize", *words, "--resume") == 0
    assert (tmp_path / "o" / "report.json").exists()


def test_damaged_and_foreign_checkpoints(
    cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o").mkdir()
    for content in (b"", b"nonsense", pickle.dumps({"stage": 0})):
        (tmp_path / "o" / "checkpoint.pt").write_bytes(content)
        assert cannon("optimize", *SHORT, "--out", "o", "--resume") == 2
        assert "cannot be read" in capsys.readouterr().err
        assert (tmp_path / "o" / "checkpoint.pt").read_bytes() == content
    torch.save({"stage": 0}, tmp_path / "o" / "checkpoint.pt")
    assert cannon("optimize", *SHORT, "--out", "o", "--resume") == 2
    assert "cannot be read (KeyError)" in capsys.readouterr().err


def test_full_disk_before_the_first_checkpoint_leaves_nothing(
    cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cannon_fx.checkpoint.atomic_write_bytes", full)
    assert cannon("optimize", *SHORT, "--out", "o") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_an_oserror_of_a_library_is_told_by_its_text(
    cannon: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has neither a number nor a file name."""

    def fail(*_: object) -> None:
        raise OSError("truncated\nheader.")

    monkeypatch.setattr("cannon_fx.run.make_folder", fail)
    assert cannon("optimize", *SHORT) == 2
    assert capsys.readouterr().err == (
        "cannon: cannot use 'a file': truncated header. Choose another path, or make room there.\n"
    )


def test_config_is_toml_whatever_the_names() -> None:
    text = replace(Optimize().config(), chip="chip\U0001f600\x7f.toml").toml()
    assert tomllib.loads(text)["chip"] == "chip\U0001f600\x7f.toml"


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    words = ["optimize", "--dense-epochs", "50", "--batch-size", "1", "--checkpoint-seconds", "inf"]
    process = start(tmp_path, *words)
    while not (tmp_path / "runs" / "demo" / "config.toml").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not (tmp_path / "runs" / "demo").exists()
