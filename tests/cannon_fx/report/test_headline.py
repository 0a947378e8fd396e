"""The sentence on top, and the pair it is about."""

from __future__ import annotations

from typing import Any

import pytest

from cannon_fx.report.headline import budget_verdict, choose_pair, headline


def test_headline_is_honest(record: dict[str, Any]) -> None:
    after, dense = record["methods"]["cannon"], record["methods"]["dense"]
    assert headline(record) == (
        "3.00x less communication energy at 98.8 % accuracy (dense: 99.0 %): accuracy falls by 0.2 points"
    )
    after["accuracy"] = 0.9897
    assert headline(record).endswith("98.97 % accuracy (dense: 99.00 %): accuracy falls by 0.03 points")
    after["accuracy"] = 0.995
    assert "falls" not in headline(record)
    after["energy_pj"] = 1000.0
    assert headline(record).startswith("1.12x more communication energy, not less, at 99.5 %")
    assert "not met" in budget_verdict(record)
    after["energy_pj"] = dense["energy_pj"]
    assert headline(record).startswith("No less communication energy than dense")
    after["accuracy"] = None
    assert headline(record).endswith("accuracy not measured")


def test_the_pair() -> None:
    assert choose_pair({"dense": 0, "cannon": 0, "filter": 0}).after == "cannon"
    assert choose_pair({"dense": 0, "filter": 0, "cost-blind": 0}).after == "cost-blind"
    assert choose_pair({"cannon": 0}).before is None
    with pytest.raises(ValueError, match="no methods"):
        choose_pair({})
