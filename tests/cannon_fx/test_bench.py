"""`cannon bench kernels`: rows with every field, in the file and on the screen, and no time for a wrong result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cannon_fx import kernel_bench
from cannon_fx.commands.bench import Bench
from cannon_fx.errors import RunError
from cannon_fx.kernel_bench import Cell, Shape, WrongResult, all_cells, measure, quick_cells

FIELDS = (
    "op shape batch dtype density block storage pass baseline baseline_ms ours_ms speedup "
    "alternating_baseline_ms alternating_ours_ms alternating_speedup gflops relative_error device"
).split()
CELLS = [
    Cell(Shape("small", 64, 96), 5, 0.5, (32, 32)),
    Cell(Shape("small", 64, 96), 5, 0.5, (32, 16), torch.bfloat16, "packed"),
    Cell(Shape("small", 32, 32, 6, 3, 2), 2, 0.5, (16, 16), storage="packed"),
]


def test_rows_in_the_file_and_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_bench, "quick_cells", lambda: iter(CELLS))
    Bench("kernels", quick=True, json=tmp_path / "rows.json", seconds=0.001).run()
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(r["op"], r["pass"], r["baseline"]) for r in rows] == [
        ("linear", "forward", "MKL/oneDNN"),
        ("linear", "forward+backward", "MKL/oneDNN"),
        ("linear", "forward", "torch BSR"),
        ("linear", "forward", "MKL/oneDNN"),
        ("linear", "forward+backward", "MKL/oneDNN"),
        ("conv2d", "forward", "oneDNN channels_last"),
        ("conv2d", "forward+backward", "oneDNN channels_last"),
    ]
    for row in rows:
        assert list(row) == FIELDS
        assert row["speedup"] == row["baseline_ms"] / row["ours_ms"]
        assert 0 < row["relative_error"] < kernel_bench.TOLERANCE[getattr(torch, row["dtype"])]
        assert row["density"] == 0.5
    assert capsys.readouterr().out.count("\n") == 1 + len(rows)


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernel_bench.block_sparse_linear
    monkeypatch.setattr(kernel_bench, "block_sparse_linear", lambda *a, **k: right(*a, **k) * 1.001)
    monkeypatch.setattr(kernel_bench, "medians_ms", lambda *_: pytest.fail("timed"))
    with pytest.raises(WrongResult, match="relative errors"):
        next(measure(CELLS[0], torch.device("cpu"), 0.001))
    monkeypatch.setattr(kernel_bench, "quick_cells", lambda: iter(CELLS[:1]))
    with pytest.raises(RunError, match="1 cells gave wrong results"):
        Bench("kernels", quick=True).run()


def test_what_cannot_be_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        Bench("kernels", json=tmp_path / "none" / "rows.json").run()
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="no CUDA device"):
            Bench("kernels", device="cuda").run()


def test_the_cells_cover_what_is_promised() -> None:
    cells = set(all_cells())
    assert {c.batch for c in cells if c.shape.in_channels == 4096 and c.dtype == torch.float32} >= {16, 128, 1024}
    assert {c.shape.in_channels for c in cells if c.shape.taps == 3} >= {64, 128, 256, 512}
    assert {c.density for c in cells} >= {0.05, 0.25, 1.0}
    assert {c.shape.name for c in cells} >= {"VGG-16", "ResNet-50", "ViT-B MLP", "Llama-2-7B MLP"}
    assert len(list(quick_cells())) <= 12
