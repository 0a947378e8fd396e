"""Dense or sparse: what is chosen, and that the reason is given."""

from __future__ import annotations

import pytest
import torch

from cannon_fx.kernels import dispatch
from cannon_fx.kernels.choice import choose
from cannon_fx.kernels.pattern import BlockPattern

CPU, LARGE = torch.device("cpu"), 10**9


def pattern(density: float, out_block: int = 64, group_size: int = 64) -> BlockPattern:
    keep = torch.zeros(400, dtype=torch.bool)
    keep[: int(400 * density)] = True
    return BlockPattern(keep.view(20, 20), 20 * out_block, 20 * group_size, out_block, group_size)


def test_sparse_where_it_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: True)
    assert choose(pattern(0.25), 1, LARGE, CPU, torch.float32).sparse
    assert choose(pattern(0.25, 64, 16), 9, LARGE, CPU, torch.bfloat16).sparse
    assert choose(pattern(0.05, 8, 8), 9, LARGE, CPU, torch.float32).sparse
    assert choose(pattern(0.85), 1, LARGE, CPU, torch.float32).sparse
    assert choose(pattern(0.25), 1, 10**5, CPU, torch.float32).sparse, "fetching the weight takes longest"
    for dense, why in [
        (choose(pattern(1.0), 1, LARGE, CPU, torch.float32), "nothing is cut"),
        (choose(pattern(0.95), 9, LARGE, CPU, torch.float32), "win below 0.88"),
        (choose(pattern(0.35, 8, 8), 1, LARGE, CPU, torch.float32), "win below 0.28"),
        (choose(pattern(0.35, 8, 8), 9, LARGE, CPU, torch.float32), "win below 0.24"),
        (choose(pattern(0.05, 1, 64), 1, LARGE, CPU, torch.float32), "win below 0.00"),
        (choose(pattern(0.25), 1, LARGE, CPU, torch.float64), "win below 0.00"),
        (choose(pattern(0.25), 1, LARGE, CPU, torch.float16), "win below 0.00"),
    ]:
        assert not dense.sparse
        assert why in dense.why


def test_a_small_layer_needs_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: True)
    macs = 400 * 16 * 16 * 4
    one, twice = (choose(pattern(0.25, 16, 16), 1, n * macs, CPU, torch.float32) for n in (1, 2))
    assert one.sparse
    assert one.samples == pytest.approx(2 * twice.samples, abs=2)
    assert twice.samples > 1
    assert one.why.endswith(f", in batches of {one.samples} and more")
    assert choose(pattern(0.25, 16, 16), 1, 1000 * macs, CPU, torch.float32).samples == 1


def test_a_small_image_needs_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing a block of a convolution must be paid by products with enough pixels, the more the denser the layer."""
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: True)
    weights = 400 * 64 * 64 * 9
    sparse, dense = (choose(pattern(density), 9, 16 * weights, CPU, torch.float32) for density in (0.25, 0.75))
    assert sparse.sparse
    assert sparse.samples == 1
    assert dense.sparse
    assert dense.samples > 2
    assert choose(pattern(0.75), 9, 256 * weights, CPU, torch.float32).samples == 1


def test_narrow_where_whole_channels_are_cut_and_it_saves_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: True)

    def columns(live: int, group_size: int) -> BlockPattern:
        keep = torch.zeros(20, 20, dtype=torch.bool)
        keep[:, :live] = True
        return BlockPattern(keep, 20 * 64, 20 * group_size, 64, group_size)

    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        choice = choose(columns(8, 1), 9, LARGE, CPU, dtype, narrow=True)
        assert choice.narrow
        assert not choice.sparse
        assert choice.why == "narrow: dense on 8 of 20 input channels"
    for other in (
        choose(columns(8, 1), 9, LARGE, CPU, torch.float32),  # nobody asked
        choose(columns(0, 1), 9, LARGE, CPU, torch.float32, narrow=True),
        choose(columns(20, 1), 9, LARGE, CPU, torch.float32, narrow=True),
        choose(columns(8, 1), 9, LARGE, torch.device("cuda"), torch.float32, narrow=True),  # unmeasured
        choose(pattern(0.25), 9, LARGE, CPU, torch.float32, narrow=True),  # saves less than the kernels
    ):
        assert not other.narrow


def test_dense_without_a_compiler_or_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: False)
    monkeypatch.setattr(dispatch, "_triton", lambda: None)
    for device in (CPU, torch.device("cuda")):
        found = choose(pattern(0.25), 1, LARGE, device, torch.float32)
        assert not found.sparse
        assert "no compiled kernels" in found.why
