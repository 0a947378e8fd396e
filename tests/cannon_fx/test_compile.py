"""The compiler's two verbs as a whole: ResNet-18 at full size, annotations, the summary, the first layer's guess."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import ChipError, InfeasibleError, apply_cannon, load, plan
from cannon_fx.annotate import annotated
from cannon_fx.networks import resnet18
from cannon_fx.plans import Plan


@pytest.fixture(scope="module")
def resnet() -> Plan:
    return plan(resnet18(), torch.zeros(1, 3, 224, 224))


def test_resnet18_has_its_published_shape() -> None:
    """11,689,512 parameters, as torchvision documents."""
    assert sum(p.numel() for p in resnet18().parameters()) == 11_689_512


def test_resnet18_is_mapped_whole(resnet: Plan) -> None:
    assert len(resnet.layers) == 21
    assert resnet.unmapped == ()
    assert resnet.fallback_ops == ()
    tiles = 0
    for layer in resnet.layers:
        channels = 512 // layer.taps // 16 * 16 if 512 // layer.taps < layer.in_channels else layer.in_channels
        tiles += math.ceil(layer.in_channels / channels) * math.ceil(layer.out_channels / 64)
    assert resnet.tiles == tiles
    grid = resnet.placed().grid
    assert (grid.columns - 1) ** 2 < tiles <= grid.columns * grid.rows
    assert len(resnet.moves) == 8, "the residual adds"


def test_resnet18_residual_adds_move_each_element_at_most_once(resnet: Plan) -> None:
    elements = [int(move.elements.sum()) for move in resnet.moves]
    sizes = [64 * 56**2] * 2 + [128 * 28**2] * 2 + [256 * 14**2] * 2 + [512 * 7**2] * 2
    assert elements == sizes


def annotations(p: Plan) -> dict[str, dict]:  # type: ignore[type-arg]
    graph = p.exported.graph
    return {n.name: n.meta["custom"]["cannon"] for n in graph.nodes if "cannon" in n.meta.get("custom", {})}


def test_annotations_add_up_to_the_cost(network: nn.Module, image: Tensor) -> None:
    p = plan(network, image, chip="demo-32nm", group_size=2)
    rng = np.random.default_rng(0)
    keep = {name: rng.random(mask.shape) < 0.5 for name, mask in p.full().items()}
    for mask in (None, keep):
        annotated(p, p.full() if mask is None else mask)
        notes = annotations(p)
        edges = [e for note in notes.values() for e in [*note["in"], note.get("partial_sums", {"energy_pj": 0.0})]]
        from cannon_fx.cost import cost

        total = cost(p, p.full() if mask is None else mask)
        assert sum(e["energy_pj"] for e in edges) == pytest.approx(total.energy_pj)
        assert sum(note["latency_cycles"] for note in notes.values()) == pytest.approx(total.latency_cycles)
        assert all(sum(e["hops"].values()) == e["flits"] for e in edges if "hops" in e)
        assert json.loads(json.dumps(notes)) == notes
    layer = p.layers[1]
    assert set(notes[layer.node]["tiles"]) == {str(t) for t in layer.tile_of.ravel()}
    assert notes[layer.node]["in"][0]["from"] == p.inputs[layer.name].producer


def test_graph_module_runs_and_carries_the_costs_of_what_is_kept(network: nn.Module, image: Tensor) -> None:
    p = apply_cannon(network.eval(), image, chip="demo-32nm", group_size=2)
    for module in p.modules.values():
        module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    graph = p.graph_module
    notes = [n.meta["custom"]["cannon"] for n in graph.graph.nodes if "cannon" in n.meta.get("custom", {})]
    edges = [e for note in notes for e in [*note["in"], note.get("partial_sums", {"energy_pj": 0.0})]]
    assert sum(e["energy_pj"] for e in edges) == pytest.approx(p.cost().energy_pj)
    assert isinstance(graph, torch.fx.GraphModule)
    torch.testing.assert_close(graph(image[:1]), network(image[:1]))


def test_annotations_survive_decomposition_and_disk(network: nn.Module, image: Tensor) -> None:
    p = plan(network, image, chip="demo-32nm")
    program = p.annotated
    before = annotations(p)
    assert before
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer)
    for exported in (loaded, program.run_decompositions()):
        found = [n.meta["custom"]["cannon"] for n in exported.graph.nodes if "cannon" in n.meta.get("custom", {})]
        assert [note for note in before.values() if note not in found] == []


def test_summary_names_every_layer_and_its_share(resnet: Plan) -> None:
    text = resnet.summary()
    assert all(layer.name in text for layer in resnet.layers)
    assert f"{resnet.tiles} tiles of chip siam-32nm" in text
    assert f"energy {resnet.cost().energy_pj:,.0f} pJ" in text


def test_apply_without_inputs_where_the_first_layer_tells(image: Tensor) -> None:
    network = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    assert apply_cannon(network, chip="demo-32nm").tiles == 2


def test_orders_differ_and_an_unknown_one_is_refused(make_network: Callable[[], nn.Module], image: Tensor) -> None:
    costs = {o: plan(make_network(), image, chip="demo-32nm", order=o).cost() for o in ("snake", "row-major")}
    assert costs["snake"].energy_pj != costs["row-major"].energy_pj
    with pytest.raises(
        ChipError, match="unknown placement order 'spiral': choose one of row-major, snake, hilbert, spectral"
    ):
        plan(make_network(), image, order="spiral")  # type: ignore[arg-type]


CONV1D = {"0": "conv1d is not mapped; only linear and conv2d are"}


@pytest.mark.parametrize(
    ("model", "x", "listed"),
    [
        (nn.ReLU(), torch.zeros(2, 4), {}),
        (nn.Conv2d(4, 4, 1, groups=2), torch.zeros(2, 4, 3, 3), {"": "grouped convolution (2 groups)"}),
        (
            nn.Sequential(nn.Conv1d(4, 4, 1)),
            torch.zeros(2, 4, 3),
            CONV1D,
        ),
    ],
)
def test_a_network_without_mapped_layers(
    model: nn.Module, x: Tensor, listed: dict[str, str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    found = plan(model, x)
    assert {u.name: u.reason for u in found.unmapped} == listed
    assert (found.tiles, found.cost().energy_pj, found.cost().density) == (0, 0, 1)
    assert "nothing is on the chip" in found.summary()
    before, kinds = model(x), [type(module) for module in model.modules()]
    applied = apply_cannon(model, x)
    assert "is mapped: " in caplog.text
    assert [type(module) for module in model.modules()] == kinds
    assert torch.equal(model(x), before)
    with pytest.raises(InfeasibleError, match="nothing of this network is mapped"):
        applied.set_budget("energy/2", steps=3)
    applied.save(tmp_path)
    assert load(tmp_path, copy.deepcopy(model)).layers == ()
