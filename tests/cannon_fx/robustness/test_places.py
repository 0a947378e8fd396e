"""Where a run may live and what may befall it: odd names, read-only sources, full disks, kill -9, two at once."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from cannon_fx import Chip, RunError, apply_cannon, load

ROOT = Path(__file__).parents[3]
SHORT = ["--epochs", "2", "--dense-epochs", "1", "--batch-size", "512", "--methods", "dense", "cannon"]
CANNON = [sys.executable, "-m", "cannon_fx.cli"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("name", ["two words", "-dash ünïcode 文", "100%s 'quoted' [x] {y};&", "x" * 240])
def test_odd_names(name: str, cannon: Callable[..., int], tmp_path: Path) -> None:
    """Of the output folder, the chip's file, and the folder around them."""
    (tmp_path / name).mkdir()
    os.chdir(tmp_path / name)
    chip = Path(f"{name[:200]}.toml")
    chip.write_text(Chip.text_of("demo-32nm"))
    assert cannon("optimize", *SHORT, f"--chip={chip}", f"--out={name}") == 0
    assert {path.name for path in Path(name).iterdir()} >= {"report.html", "weights.safetensors"}
    assert json.loads((Path(name) / "report.json").read_text())["chip"]["name"] == "demo-32nm"


def test_bytes_that_are_no_text_are_refused(cannon: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert cannon("map", "--chip", os.fsdecode(b"\xff.toml")) == 2
    assert "is no text in UTF-8" in capsys.readouterr().err


def test_nobody_reads_on() -> None:
    """As with `cannon chips siam-32nm | head -1`."""
    first, last = os.pipe()
    os.close(first)
    done = subprocess.run([*CANNON, "chips", "siam-32nm"], stdout=last, stderr=subprocess.PIPE, env=ONE_THREAD)
    os.close(last)
    assert (done.returncode, done.stderr) == (141, b"")


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """A larger one fails half-written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def test_a_full_disk_costs_nothing_that_was_saved(tmp_path: Path) -> None:
    model = network()
    result = apply_cannon(model, torch.zeros(1, 1, 8, 8), chip="demo-32nm")
    path = result.save(tmp_path)
    saved = path.read_bytes()
    with torch.no_grad():
        model[1].weight.zero_()
    with files_of_at_most(20_000), pytest.raises(RunError, match="cannot write"):
        result.save(tmp_path)
    assert path.read_bytes() == saved
    assert list(tmp_path.iterdir()) == [path]
    load(tmp_path, network())


@pytest.mark.parametrize("words", ["sweep --vary flit_bits=1:500:500 --csv out", "map --export trace:out"])
def test_a_full_disk_is_one_paragraph(
    words: str, cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("precious")
    with files_of_at_most(4096):
        assert cannon(*words.split()) == 2
    told = capsys.readouterr().err
    assert "'out': File too large" in told
    assert len(told.splitlines()) == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "precious")]


def test_kill_9_while_writing(tmp_path: Path) -> None:
    """Whenever it comes, the file is one of those that were written, whole."""
    code = (
        "import sys; from pathlib import Path; from cannon_fx.atomic import atomic_write_bytes\n"
        "for k in range(10**6):\n"
        "    atomic_write_bytes(Path('file'), bytes([k % 256]) * 3_000_000)\n"
        "    print(k, flush=True)\n"
    )
    for delay_seconds in (0.001, 0.002, 0.004, 0.007, 0.011, 0.016):
        writer = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay_seconds)
        writer.kill()
        writer.communicate()
        content = (tmp_path / "file").read_bytes()
        assert content == content[:1] * 3_000_000


def run(*words: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*CANNON, "optimize", *words],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


@pytest.mark.slow
def test_kill_9_in_a_run_and_resume(tmp_path: Path) -> None:
    """At any time after the first checkpoint: the run goes on to what it would have been."""
    words = ["--epochs", "6", "--dense-epochs", "2", "--batch-size", "64", "--methods", "dense", "cannon"]
    assert run(*words, "--out", "straight", cwd=tmp_path, env=ONE_THREAD).wait() == 0
    resume: list[str] = []
    for delay_seconds in (0.05, 0.4, 1.1):
        killed = run(*words, "--out", "killed", *resume, cwd=tmp_path, env=ONE_THREAD)
        assert killed.stdout is not None
        while not (tmp_path / "killed" / "checkpoint.pt").exists():
            time.sleep(0.01)
        killed.stdout.readline()
        time.sleep(delay_seconds)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        killed.communicate()
        resume = ["--resume"]
    ended = run(*words, "--out", "killed", "--resume", cwd=tmp_path, env=ONE_THREAD)
    assert ended.communicate()[1] == ""
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "straight")
    assert all(torch.equal(one[key], other[key]) for key in one.keys() | other.keys())


@pytest.mark.slow
def test_two_at_once(tmp_path: Path) -> None:
    """Into different folders: each as if it were alone. Into one: the second is refused."""
    runs = [run(*SHORT, "--out", name, cwd=tmp_path, env=ONE_THREAD) for name in ("a", "b", "a")]
    told = [process.communicate()[1] for process in runs]
    assert sorted(process.returncode for process in runs) == [0, 0, 2]
    assert runs[1].returncode == 0
    assert "exists already" in "".join(told)
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[key], other[key]) for key in one.keys() | other.keys())


@pytest.mark.slow
def test_read_only_sources(tmp_path: Path) -> None:
    """Nothing is written beside the sources, nor has a home to be."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("cannon_fx", "hw", "kernels"):
        shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(sources.rglob("*"))
    for path in [*before, sources]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    # Root may write everywhere, unless it gives that right away.
    words = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override"]
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir(mode=0o500)
    work = tmp_path / "work"
    work.mkdir()
    homeless = {"HOME": str(nowhere), "XDG_CACHE_HOME": str(nowhere), "MPLCONFIGDIR": str(work)}  # else it warns
    environment = {**ONE_THREAD, **homeless, "PYTHONPATH": str(sources)}
    probe = [*words, sys.executable, "-c", f"open({str(sources / 'x')!r}, 'w')"]
    assert b"PermissionError" in subprocess.run(probe, capture_output=True).stderr
    done = subprocess.run(
        [*words, *CANNON, "optimize", *SHORT], cwd=work, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(sources.rglob("*")) == before
    assert (work / "runs" / "demo" / "report.html").exists()
