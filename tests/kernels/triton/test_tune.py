"""The choice of configurations: measured once, kept on disk, and sound where nothing can be measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cannon_fx.kernels.triton.configuration import Configuration, Problem, candidates, default

triton = pytest.importorskip("triton", reason="Triton is not installed")

PROBLEM = Problem("product", "bfloat16", "ieee", 4096, 128, 64, True, False, True, 223 * 1024)


@pytest.mark.parametrize("op", ["product", "grad_weight"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("extents", [(1, 1), (16, 64), (24, 12), (64, 16), (100, 48), (128, 64), (512, 256)])
@pytest.mark.parametrize("rows", [1, 77, 100_000])
def test_candidates_can_run(op: str, dtype: str, extents: tuple[int, int], rows: int) -> None:
    for limit in (95 * 1024, 223 * 1024):
        problem = replace(
            PROBLEM, op=op, dtype=dtype, rows=rows, n_extent=extents[0], k_unit=extents[1], shared_limit=limit
        )
        found = list(candidates(problem))
        assert found[0] == default(problem)
        assert len(set(found)) == len(found) > 0
        for configuration in found:
            assert configuration.shared_bytes(problem.itemsize) <= limit
            sides = configuration.block_m, configuration.block_n, configuration.block_k
            assert all(side >= 16 and side & (side - 1) == 0 for side in sides)
            if configuration.descriptors:
                n_side, k_side = sides[1], sides[2] if op == "product" else sides[0]
                assert extents[0] % n_side == extents[1] % k_side == 0


def test_a_step_lies_inside_a_block_where_it_must() -> None:
    problem = replace(PROBLEM, k_unit=48, whole_steps=True)
    assert all(48 % configuration.block_k == 0 for configuration in candidates(problem))


def test_rows_are_grouped() -> None:
    assert replace(PROBLEM, rows=1000) == replace(PROBLEM, rows=1024) != replace(PROBLEM, rows=1025)
    assert replace(PROBLEM, rows=10**5) == replace(PROBLEM, rows=10**6)


def test_the_fastest_that_runs_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from cannon_fx.kernels.triton import tune

    best, refused = list(candidates(PROBLEM))[2:4]
    ran: list[Configuration] = []

    def bench(run: Any, **_: Any) -> float:
        run()
        return 1.0 if ran[-1] == best else 2.0

    def run(configuration: Configuration) -> None:
        if configuration == refused:
            raise RuntimeError("too large")
        ran.append(configuration)

    monkeypatch.setattr(triton.testing, "do_bench", bench)
    assert tune.measure(PROBLEM, run) == best
    assert {*ran, refused} == set(candidates(PROBLEM))

    def never(configuration: Configuration) -> None:
        raise RuntimeError("too large")

    with pytest.raises(RuntimeError, match=r"no configuration runs for .*bfloat16"):
        tune.measure(PROBLEM, never)


def test_a_device_is_tuned_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cannon_fx.kernels.triton import tune

    measured: list[Problem] = []
    best = list(candidates(PROBLEM))[1]

    def measure(problem: Problem, run: Any) -> Configuration:
        measured.append(problem)
        return best

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tune, "measure", measure)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU one/two")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    device = torch.device("cuda", 0)
    for _ in range(3):
        # As in another process.
        monkeypatch.setattr(tune, "_chosen", {})
        assert tune.choose(PROBLEM, print, device) == best
    assert measured == [PROBLEM]
    (file,) = (tmp_path / "cannon_fx" / "tuned").iterdir()
    assert file.name == "GPU_one_two.json"
    assert list(json.loads(file.read_text()).values()) == [asdict(best)]

    # A capture measures nothing and leaves nothing behind.
    other = replace(PROBLEM, k_unit=128)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert tune.choose(other, print, device) == default(other)
    assert (device, other) not in tune._chosen


def test_without_a_device_the_default_is_taken() -> None:
    from cannon_fx.kernels.triton import tune

    assert tune.choose(PROBLEM, print, torch.device("cpu")) == default(PROBLEM)
