"""Open sizes: the formulas of the graph give what a plan of that size costs, exactly."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import pytest
import sympy
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from cannon_fx import CaptureError, MappingError, apply_cannon, plan

CHIP = {"chip": "demo-32nm", "group_size": 4}


class Encoder(nn.Module):
    """Attention with a mask, a residual, a norm over features and a mean over words."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.project = nn.Linear(32, 96)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 8)

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        batch, length = words.shape
        x = self.table(words)
        q, k, v = self.project(x).view(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        x = self.norm(x + F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))
        return self.head(x), x.mean(1)


def inputs(length: int, batch: int = 5) -> tuple[Tensor, Tensor]:
    return torch.arange(batch * length).view(batch, length) % 50, torch.zeros(length, length)


def notes_of(graph: torch.fx.Graph) -> dict[str, Any]:
    return {node.name: node.meta["custom"]["cannon"] for node in graph.nodes if "cannon" in node.meta.get("custom", {})}


def filled_in(note: Any, sizes: dict[str, int]) -> Any:
    """The note with its formulas' values."""
    if isinstance(note, dict):
        return {key: filled_in(value, sizes) for key, value in note.items() if key not in ("from", "latency_model")}
    if isinstance(note, list):
        return [filled_in(value, sizes) for value in note]
    return float(sympy.sympify(note).subs(sizes))


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            if key == "energy_pj":
                assert found[key] == pytest.approx(expected[key], rel=1e-12)
            elif key != "latency_cycles":
                assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    else:
        assert found == expected


@cache
def notes_of_length(length: int) -> dict[str, Any]:
    """Of a plan of that length alone."""
    return notes_of(plan(Encoder(), inputs(length), **CHIP).graph_module.graph)


SHAPES: dict[str, Any] = {
    "length": {"words": {1: Dim("n")}, "mask": {0: Dim("n"), 1: Dim("n")}},
    "batch and length": {"words": {0: Dim("b"), 1: Dim("n")}, "mask": {0: Dim("n"), 1: Dim("n")}},
    "automatic": ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO, 1: Dim.AUTO}),
}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_formulas_give_the_plan_of_every_length(shapes: Any) -> None:
    model = Encoder()
    found = plan(model, inputs(7), **CHIP, dynamic_shapes=shapes)
    fixed = plan(model, inputs(7), **CHIP)
    assert found.cost().energy_pj == fixed.cost().energy_pj
    assert found.cost().latency_cycles == fixed.cost().latency_cycles
    formulas = notes_of(found.graph_module.graph)
    edges = [edge for note in formulas.values() for edge in note["in"]]
    (symbol,) = set().union(*(sympy.sympify(edge["bits"]).free_symbols for edge in edges))
    assert any("**2" in str(edge["bits"]) for edge in edges), "attention's scores"
    for length in (2, 3, 33):
        expected = notes_of_length(length)
        assert [note["in"][0]["from"] for note in formulas.values()] == [n["in"][0]["from"] for n in expected.values()]
        assert_same(filled_in(formulas, {str(symbol): length}), filled_in(expected, {}))


def test_formulas_are_of_the_connections_that_are_kept_and_survive_the_disk() -> None:
    model = Encoder().eval()
    applied = apply_cannon(model, inputs(7), **CHIP, dynamic_shapes=SHAPES["batch and length"])
    for module in applied.modules.values():
        module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    program = applied.annotated
    before = notes_of(program.graph)
    symbol = str(next(iter(applied.dynamic.example)))
    edges = [e for note in before.values() for e in [*note["in"], note.get("partial_sums", {"energy_pj": 0})]]
    energy = sum(float(sympy.sympify(edge["energy_pj"]).subs(symbol, 7)) for edge in edges)
    assert energy == pytest.approx(applied.cost().energy_pj)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer)
    assert notes_of(loaded.graph) == before
    assert any(symbol in str(node.meta["val"].shape) for node in loaded.graph.nodes if node.name == "words")
    decomposed = notes_of(program.run_decompositions().graph).values()
    assert [note for note in before.values() if note not in decomposed] == []
    for batch, length in ((1, 5), (4, 9)):  # any batch, though costs are of one sample
        for a, b in zip(loaded.module()(*inputs(length, batch)), model(*inputs(length, batch)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_an_image_of_any_height() -> None:
    """Whole rows of padding and taps: linear in the height where the stride is 1."""
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3))
    found = plan(model, torch.zeros(1, 2, 9, 6), **CHIP, dynamic_shapes=({2: Dim("h", min=4)},))
    formulas = notes_of(found.graph_module.graph)
    for height in (5, 30):
        expected = notes_of(plan(model, torch.zeros(1, 2, height, 6), **CHIP).graph_module.graph)
        assert_same(filled_in(formulas, {str(next(iter(found.dynamic.example))): height}), filled_in(expected, {}))


def test_what_is_no_polynomial_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, stride=2), nn.Conv2d(8, 8, 1))
    found = plan(model, torch.zeros(1, 2, 9, 6), **CHIP, dynamic_shapes=({2: Dim("h", min=4)},))
    assert found.cost().energy_pj == plan(model, torch.zeros(1, 2, 9, 6), **CHIP).cost().energy_pj
    with pytest.raises(MappingError, match=r"no polynomials in the open sizes: at s\d+ = "):
        _ = found.graph_module


def test_wrong_shapes_are_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(28, 4))
    with pytest.raises(CaptureError, match=r"You marked n as dynamic but .* constant"):
        plan(model, torch.zeros(2, 7, 4), **CHIP, dynamic_shapes=({1: Dim("n")},))
    with pytest.raises(CaptureError, match="no size of Sequential's inputs stays open"):
        plan(model, torch.zeros(2, 7, 4), **CHIP, dynamic_shapes=(None,))
