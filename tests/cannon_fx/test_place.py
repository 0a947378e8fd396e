"""The place pass: optimised orders on real plans, for every topology, and what comes back from disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from torch import Tensor, nn

from cannon_fx import ChipError, apply_cannon, load, plan
from cannon_fx.cost import all_transfers
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.objective import Objective
from cannon_fx.hw.optimise import Method
from cannon_fx.hw.placement import Order
from cannon_fx.passes import place as place_pass
from cannon_fx.passes.place import flits_between


def energies(make_network: Callable[[], nn.Module], image: Tensor, chip: str | Chip) -> dict[str, float]:
    orders = get_args(Order) + get_args(Method)
    return {
        order: plan(make_network(), image, chip=chip, group_size=4, order=order).cost().energy_pj for order in orders
    }


@pytest.mark.parametrize(("topology", "concentration"), [("mesh", 1), ("torus", 1), ("cmesh", 4)])
def test_optimised_orders_cost_no_more_than_the_best_curve(
    make_network: Callable[[], nn.Module], image: Tensor, topology: str, concentration: int
) -> None:
    data = Chip.load("demo-32nm").dump()
    data["noc"] |= {"topology": topology, "concentration": concentration}
    data["noc"]["router"]["num_vcs"] = 2  # a torus needs two classes
    found = energies(make_network, image, Chip.parse_data(data, "test"))
    best_curve = min(found[order] for order in get_args(Order))
    assert all(found[method] <= best_curve * (1 + 1e-12) for method in get_args(Method))
    assert found["annealed"] < found["row-major"]
    assert found["annealed"] <= found["faq"] * (1 + 1e-12)


def test_the_objective_is_the_plans_own_energy(make_network: Callable[[], nn.Module], image: Tensor) -> None:
    found = plan(make_network(), image, chip="demo-32nm", group_size=4)
    nodes = np.arange(found.placed().network.nodes)
    placement, chip = found.placed(), found.chip
    hops = placement.network.hops(nodes[:, None], nodes)
    cost = chip.noc_energy.router_pj_per_flit * (hops + 1) + chip.noc_energy.link_pj_per_flit * hops
    assert Objective(flits_between(found, all_transfers(found, found.full())[0]), cost)(
        placement.node
    ) == pytest.approx(found.cost().energy_pj, rel=1e-12)


def test_an_annealed_plan_comes_back_from_disk(
    make_network: Callable[[], nn.Module], image: Tensor, tmp_path: Path
) -> None:
    network = make_network()
    applied = apply_cannon(network, image, chip="demo-32nm", group_size=4, order="annealed", seed=3)
    applied.save(tmp_path)
    again = load(tmp_path, make_network())
    assert again.options["seed"] == 3
    assert again.placed().node.tolist() == applied.placed().node.tolist()


def test_a_chip_too_large_for_a_table_is_refused(
    network: nn.Module, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_pass, "MOST_NODES", 8)
    with pytest.raises(ChipError, match="'annealed' is for chips of up to 8 nodes"):
        plan(network, image, chip="demo-32nm", order="annealed")
