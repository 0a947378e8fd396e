"""Networks from layer tables: connected as the sizes demand, or refused with the layer that does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cannon_fx import MappingError, plan
from cannon_fx.hw.exchange.layer_shape import LayerShape
from cannon_fx.hw.exchange.network_csv import from_network_csv
from cannon_fx.hw.exchange.scale_sim import from_scale_sim
from cannon_fx.plan_exports import layer_shapes
from cannon_fx.table_network import TableNetwork

DATA = Path(__file__).parent.parent / "data" / "exchange"


def residual() -> TableNetwork:
    """Row 5 is a shortcut around rows 3 and 4."""
    return TableNetwork(from_network_csv((DATA / "NetWork_neurosim.csv").read_text(), "neurosim"), "a.csv")


def test_a_shortcut_starts_where_its_block_does_and_is_added_at_its_end() -> None:
    assert [source.values for source in residual().sources] == [(0,), (1,), (2,), (3,), (2,), (4, 5), (6,)]


def test_it_computes_what_the_table_says() -> None:
    network, x = residual().eval(), torch.randn(2, 3, 16, 16)
    conv = dict(network.named_children())
    relu, pool = torch.relu, nn.functional.max_pool2d
    two = pool(conv["layer2"](relu(conv["layer1"](x))), 2)
    four = conv["layer4"](relu(conv["layer3"](relu(two))))
    expected = conv["layer7"](torch.flatten(relu(conv["layer6"](relu(four + conv["layer5"](relu(two))))), 1))
    assert torch.equal(network(x), expected)


def test_padding_follows_from_the_next_layer() -> None:
    """Padded: 12 -> 6, 6 -> 6 (576 = 6 x 6 x 16), 14 -> 14, pooled to 7. Not padded: 7 -> 3 (72 = 3 x 3 x 8)."""
    shapes = from_scale_sim((DATA / "scale_sim.csv").read_text())
    network = TableNetwork(shapes, "t.csv")
    assert [layer.padding for layer in network.children() if isinstance(layer, nn.Conv2d)] == [(1, 1), (1, 1)]
    shapes = from_network_csv((DATA / "NetWork_siam.csv").read_text(), "siam")
    network = TableNetwork(shapes, "n.csv")
    assert [layer.padding for layer in network.children() if isinstance(layer, nn.Conv2d)] == [(2, 2), (0, 0)]
    assert network(torch.zeros(1, 1, 14, 14)).shape == (1, 10)


def test_names_of_the_table_are_kept_unless_a_module_has_them_already() -> None:
    network = TableNetwork(from_scale_sim((DATA / "scale_sim.csv").read_text()), "t.csv")
    assert [name for name, _ in network.named_children()] == ["Conv1", "Conv2", "train_3"]


def test_a_smaller_input_is_pooled() -> None:
    table = [LayerShape(9, 9, 1, 3, 3, 4), LayerShape(4, 4, 4, 3, 3, 8), LayerShape(1, 1, 8, 1, 1, 2)]
    assert TableNetwork(table, "t")(torch.zeros(1, 1, 9, 9)).shape == (1, 2)


def test_the_plans_layers_are_the_tables_rows() -> None:
    """From a table to a network to a plan to a table."""
    shapes = from_network_csv((DATA / "NetWork_neurosim.csv").read_text(), "neurosim")
    network = residual()
    found = plan(network, torch.zeros(1, *network.input_size), chip="demo-32nm", group_size=4)
    assert layer_shapes(found) == [replace(shape, name=f"layer{n}") for n, shape in enumerate(shapes, 1)]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ([LayerShape(8, 8, 1, 3, 3, 4), LayerShape(8, 8, 5, 3, 3, 4)], "t, layer 2 takes 8 x 8 x 5, but .* 8 x 8 x 4"),
        ([LayerShape(8, 8, 1, 3, 3, 4), LayerShape(16, 16, 4, 3, 3, 4)], "layer 2 takes 16 x 16 x 4"),
        ([LayerShape(2, 2, 1, 5, 5, 4, stride=1), LayerShape(1, 1, 9, 1, 1, 4, name="fc")], r"layer 2 \(fc\) takes"),
        ([LayerShape(1, 1, 1, 2, 2, 4)], "layer 1: its kernel is larger"),
    ],
)
def test_tables_that_make_no_network(table: list[LayerShape], problem: str) -> None:
    with pytest.raises(MappingError, match=problem):
        TableNetwork(table, "t")
