"""Who loads a link: against every transfer walked by hand along x, then y."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cannon_fx import Chip, plan
from cannon_fx.cost import cost
from cannon_fx.hw.placement import PORT
from cannon_fx.link_transfers import MOST
from cannon_fx.record import method_record, plan_record


def walked(placed: NDArray[np.float64], transfers: list[list[int]]) -> dict[tuple[Any, Any], list[list[int]]]:
    """Link (from, to) -> the transfers over it, by steps of one router, along x first."""
    passing = defaultdict(list)
    for row in transfers:
        (x, y), (to_x, to_y) = placed[row[1]], placed[row[2]]
        while (x, y) != (to_x, to_y):
            step = (np.sign(to_x - x), 0) if x != to_x else (0, np.sign(to_y - y))
            passing[(x, y), (x + step[0], y + step[1])].append(row)
            x, y = x + step[0], y + step[1]
    return passing


def test_every_link_names_its_largest_transfers(network: nn.Module, image: Tensor) -> None:
    found = plan(network, image, chip="demo-32nm", group_size=4)
    record = method_record(found, found.cost(), None)
    t = found.cost().communication.transfers
    flits = t.flits(found.chip.noc.flit_bits)
    rows = np.column_stack([t.phase, t.source, t.target, flits]).tolist()
    placement = found.placed()
    placed = placement.network.place[placement.network.routing.node_router[placement.node]]
    expected = walked(placed, rows)
    assert len(record["links"]) == len(expected) > 4
    for link in record["links"]:
        passing = expected[tuple(link["from"]), tuple(link["to"])]
        assert link["transfers"] == len(passing)
        assert link["flits"] == sum(row[3] for row in passing)
        assert sorted(row[3] for row in link["largest"]) == sorted(sorted(row[3] for row in passing)[-MOST:])
        assert all(row in passing for row in link["largest"])
    assert record["phases"][0] == ["input", "stem"]


def test_a_multicast_counts_once_on_a_link(image: Tensor) -> None:
    chip = Chip.load("demo-32nm")
    chip = chip.model_copy(update={"noc": chip.noc.model_copy(update={"multicast": True})})
    torch.manual_seed(0)
    found = plan(nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)), image, chip=chip, group_size=4)
    record = method_record(found, found.cost(), None)
    whole = [link for link in record["links"] if link["transfers"] <= MOST]
    assert whole
    assert all(sum(row[3] for row in link["largest"]) == link["flits"] for link in whole)
    assert any(row[:3] == [0, PORT, 1] for link in whole for row in link["largest"])  # the image, to the second tile


def test_masks_and_utilisation(network: nn.Module, image: Tensor) -> None:
    found = plan(network, image, chip="demo-32nm", group_size=4)
    keep = {name: mask.copy() for name, mask in found.keep().items()}
    keep["inner"][:, 1:] = False
    full, cut = (method_record(found, cost(found, k), None)["layers"] for k in (found.keep(), keep))
    layer = next(layer for layer in found.layers if layer.name == "inner")
    (before,), (after,) = ([row for row in rows if row["name"] == "inner"] for rows in (full, cut))
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(after["keep"]), np.uint8), count=after["connections"])
    assert bits.reshape(layer.column_blocks, layer.groups).tolist() == keep["inner"].astype(int).tolist()
    assert np.mean(before["tile_utilisation"]) == pytest.approx(before["utilisation"], abs=1e-4)
    assert np.sum(after["tile_utilisation"]) == pytest.approx(np.sum(before["tile_utilisation"]) / 2, rel=1e-3)


@pytest.mark.parametrize("name", ["demo-32nm", "isaac", "neurosim-22nm", "chiplet-2.5d"])
def test_the_floor_plan_has_every_link_of_the_network(name: str, network: nn.Module, image: Tensor) -> None:
    """Mesh, concentrated mesh, tree, chiplets; with small crossbars, so that there is traffic."""
    data = Chip.load(name).dump()
    data["crossbar"] |= {"rows": 16, "columns": 16}
    if data["compute"]["rows_per_read"] > 16:
        data["compute"]["rows_per_read"] = 16
    data["tile"] = {"pe_rows": 1, "pe_columns": 1}
    found = plan(network, image, chip=Chip.parse_data(data, name), group_size=4)
    drawn = plan_record(found)["floor_plan"]
    links = [tuple(link) for link in drawn["links"]]
    assert len(links) == len(set(links)) == (found.placed().network.neighbour >= 0).sum()
    assert {(x1, y1, x0, y0) for x0, y0, x1, y1 in links} == set(links)
    used = method_record(found, found.cost(), None)["links"]
    assert used
    assert {(*link["from"], *link["to"]) for link in used} <= set(links)
    assert tuple(drawn["port"]) in {place for link in links for place in (link[:2], link[2:])}
