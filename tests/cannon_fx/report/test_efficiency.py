"""The TOPS/W table of the page shows the record's numbers, and the accuracies on the chip beside the others."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from torch import Tensor, nn

from cannon_fx import plan
from cannon_fx.record import method_record, plan_record
from cannon_fx.report import render_html
from cannon_fx.report.efficiency import efficiency_table, quantised_rows
from cannon_fx.report.headline import choose_pair


@pytest.fixture
def record(network: nn.Module, image: Tensor) -> dict[str, Any]:
    found = plan(network, image, chip="demo-32nm", group_size=4)
    method = method_record(found, found.cost(), None) | {"accuracy": 0.9875, "epochs": 1, "quantised_accuracy": 0.95}
    methods = {"dense": method, "cannon": copy.deepcopy(method)}
    run = {"command": "c", "network": "tiny", "data": "d", "seed": 0, "device": "cpu", "budget": "energy/3"}
    return {"schema": 1, **run, "methods": methods, **plan_record(found), "history": []}


def test_the_rows_are_the_records(record: dict[str, Any]) -> None:
    methods = record["methods"]
    table = efficiency_table(methods, choose_pair(methods))
    assert table is not None
    parts = methods["cannon"]["efficiency"]["parts"]
    assert [name for name, _ in table.parts] == [part["name"] for part in parts]
    assert [name for name, _ in table.totals] == ["dense", "cannon"]
    for (_, cells), part in zip(table.parts, parts, strict=True):
        assert int(cells[0].replace(",", "")) == part["operations"]
        assert float(cells[6]) == pytest.approx(100 * part["communication_share"], abs=0.05)
    assert int(table.totals[0][1][0].replace(",", "")) == sum(part["operations"] for part in parts)


def test_the_page_shows_both(record: dict[str, Any]) -> None:
    page = render_html(record)
    assert "TOPS/W" in page
    assert "read by ADCs of 4 bits" in page
    assert dict(quantised_rows(record["methods"]))["dense"] == ("95.0", "98.8")


def test_what_is_not_known_is_left_out(record: dict[str, Any]) -> None:
    for method in record["methods"].values():
        method |= {"efficiency": None, "quantised_accuracy": None}
    page = render_html(record)
    assert "TOPS" not in page
    assert "Accuracy on the chip" not in page
