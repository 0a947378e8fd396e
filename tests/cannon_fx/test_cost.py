"""The cost of a plan equals what an independent, element-by-element and flit-by-flit count finds."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from oracle import Network, Oracle, chip, random_network

from cannon_fx.compile import plan
from cannon_fx.cost import Cost, cost, layer_cost, prices
from cannon_fx.hw.chip import Chip
from cannon_fx.plans import Plan

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

CHIPS = (
    chip("plain"),
    chip("one column", rows=9, columns=4, flit_bits=8, activation_bits=3, partial_sum_bits=7, port=[1, 2]),
    chip("odd flits", rows=10, pe_rows=2, columns=13, pe_columns=3, flit_bits=33, activation_bits=5,
         partial_sum_bits=13, mesh="columns = 37\nrows = 29", port=[5, 3], packet_flits=4, num_vcs=2, vc_buf_size=3),
    chip("one tile a layer", rows=64, columns=64, pe_columns=2, flit_bits=32, activation_bits=7, port=[0, 3],
         routing_delay=2, link_cycles=3, clock_ghz=0.7, link_mm=1.7),
    chip("tall", rows=32, columns=3, cell_bits=4, weight_bits=5, pe_columns=2, flit_bits=33, activation_bits=16,
         partial_sum_bits=31, mesh="columns = 300\nrows = 5", port=[7, 4], packet_flits=8, credit_delay=2),
    chip("wide flits", rows=13, columns=32, flit_bits=512, activation_bits=8, partial_sum_bits=25, port=[1, 0]),
)  # fmt: skip


@functools.lru_cache(maxsize=100)
def compiled(seed: int) -> tuple[Network, Plan]:
    """A random network, planned for a chip, group size and order that depend on the seed too."""
    rng = random.Random(seed)
    network = random_network(rng)
    found = plan(
        network.module(),
        network.example(),
        chip=CHIPS[seed % len(CHIPS)],
        group_size=rng.choice([1, 2, 3, 4, 5, 16]),
        order=rng.choice(["snake", "row-major"]),
    )
    return network, found


def random_masks(found: Plan, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Masks of a random density per layer, 0 and 1 among them."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(mask.shape) < rng.choice([0.0, 0.1, 0.4, 0.8, 1.0, rng.random()])
        for name, mask in found.full().items()
    }


def check(found: Plan, priced: Cost, truth: Oracle) -> None:
    """Every number of `priced` against the oracle's own counts."""
    chip, c = found.chip, priced.communication
    assert [layer.name for layer in found.layers] == truth.layers
    assert [layer.name for layer in found.unmapped] == truth.unmapped
    assert [(p.kind, p.name if p.kind != "move" else None) for p in priced.phases] == [
        (p.kind, p.name) for p in truth.phases
    ]
    assert c.flits.tolist() == [p.flits for p in truth.phases]
    assert c.flit_hops.tolist() == [p.flit_hops for p in truth.phases]
    assert c.energy_pj.tolist() == pytest.approx([p.energy_pj(chip) for p in truth.phases], rel=1e-12, abs=0)
    latencies = [p.latency_cycles(found) for p in truth.phases]
    assert c.latency_cycles.tolist() == pytest.approx(latencies, rel=1e-9, abs=0)
    assert priced.energy_pj == pytest.approx(sum(p.energy_pj(chip) for p in truth.phases), rel=1e-12, abs=0)
    assert priced.latency_cycles == pytest.approx(sum(latencies), rel=1e-9, abs=0)
    assert priced.edp_pj_cycles == pytest.approx(priced.energy_pj * sum(latencies), rel=1e-9, abs=0)
    columns, rows = found.placed().grid.columns, found.placed().grid.rows
    links_mw = 2 * (columns * (rows - 1) + (columns - 1) * rows) * chip.energy.link_leakage_mw
    static_mw = (chip.energy.router_leakage_mw + chip.energy.router_clock_mw) * columns * rows + links_mw
    assert priced.static_energy_pj == pytest.approx(sum(latencies) / chip.noc.clock_ghz * static_mw, rel=1e-9, abs=0)
    links = np.zeros_like(c.routes.link_flits)
    for phase in truth.phases:
        for (x, y, dx, dy), flits in phase.links.items():
            router = y * found.placed().grid.columns + x
            links[router, [(1, 0), (-1, 0), (0, 1), (0, -1)].index((dx, dy))] += flits
    assert np.array_equal(c.routes.link_flits, links)
    assert priced.density == truth.kept_weights / truth.weights


def compare(seed: int) -> None:
    network, found = compiled(seed)
    for keep in (found.full(), random_masks(found, seed), random_masks(found, seed + 10**6)):
        check(found, cost(found, keep), Oracle.of(network, found, keep))


@pytest.mark.parametrize("seed", range(60))
def test_the_cost_of_random_networks_is_what_the_oracle_counts(seed: int) -> None:
    compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60, 1060))
def test_the_cost_of_many_more_random_networks_is_what_the_oracle_counts(seed: int) -> None:
    compare(seed)


POOL = (1, 4, 8, 9, 12, 16, 17, 20)
"""Seeds whose plans the properties below are tried on."""


def draw_masks(data: st.DataObject, found: Plan) -> dict[str, NDArray[np.bool_]]:
    return {name: data.draw(arrays(np.bool_, mask.shape), label=name) for name, mask in found.full().items()}


def test_the_pool_has_what_the_properties_need() -> None:
    plans = [compiled(seed)[1] for seed in POOL]
    assert sum(bool(found.moves) for found in plans) >= 3
    assert sum(layer.row_blocks > 2 and layer.column_blocks > 1 for found in plans for layer in found.layers) >= 5


@pytest.mark.parametrize("seed", POOL)
def test_nothing_is_left_but_moves_when_all_is_cut(seed: int) -> None:
    network, found = compiled(seed)
    none = {name: np.zeros_like(mask) for name, mask in found.full().items()}
    priced = cost(found, none)
    check(found, priced, Oracle.of(network, found, none))
    assert [p.kind for p, flits in zip(priced.phases, priced.communication.flits, strict=True) if flits] == ["move"] * (
        len(found.moves)
    )
    assert priced.density == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.sampled_from(POOL), data=st.data())
def test_cutting_more_never_costs_more_energy(seed: int, data: st.DataObject) -> None:
    found = compiled(seed)[1]
    more, other = draw_masks(data, found), draw_masks(data, found)
    less = {name: mask & other[name] for name, mask in more.items()}
    dear, cheap = cost(found, more).communication, cost(found, less).communication
    assert (cheap.flits <= dear.flits).all()
    assert (cheap.routes.link_flits <= dear.routes.link_flits).all()
    assert (cheap.energy_pj <= dear.energy_pj).all()
    # Not so for latency: it comes from rates in balance, and these may shift to another link.
    assert (cheap.latency_cycles[cheap.flits == 0] == 0).all()
    assert (cheap.routes.busiest_flits <= dear.routes.busiest_flits).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.sampled_from(POOL), data=st.data())
def test_a_network_costs_what_its_layers_and_moves_cost(seed: int, data: st.DataObject) -> None:
    found = compiled(seed)[1]
    keep = draw_masks(data, found)
    priced = cost(found, keep)
    moves = priced.of(kind="move")
    alone = [layer_cost(found, layer, keep[layer.name]) for layer in found.layers]
    parts = [(layer.energy_pj, layer.latency_cycles) for layer in alone]
    energies, latencies = zip(*parts, strict=True)
    assert sum(energies) + moves.energy_pj == pytest.approx(priced.energy_pj, rel=1e-12, abs=0)
    assert sum(latencies) + moves.latency_cycles == pytest.approx(priced.latency_cycles, rel=1e-12, abs=0)
    for layer, (energy, latency) in zip(found.layers, parts, strict=True):
        of_layer = priced.of(name=layer.name)
        assert (of_layer.energy_pj, of_layer.latency_cycles) == pytest.approx((energy, latency), rel=1e-12, abs=0)
    assert priced.of().flits == int(priced.communication.flits.sum())


def one_flit_pj(chip: Chip, hops: int) -> float:
    link = chip.energy.link_pj_per_bit_mm * chip.noc.flit_bits * chip.noc.link_mm
    return hops * link + (hops + 1) * chip.energy.router_pj_per_flit


@pytest.mark.parametrize("seed", POOL)
def test_prices_are_what_cutting_a_tile_saves_but_for_partly_filled_flits(seed: int) -> None:
    network, found = compiled(seed)
    keep = random_masks(found, seed)
    before = Oracle.of(network, found, keep)
    energy = cost(found, keep).energy_pj
    checked = 0
    for layer in found.layers:
        price, mask = prices(found, layer), keep[layer.name]
        (inputs,) = [p for p in before.phases if (p.kind, p.name) == ("input", layer.name)]
        (sums,) = [p for p in before.phases if (p.kind, p.name) == ("partial_sum", layer.name)]
        group_rows = [g * layer.group_size // layer.row_channels for g in range(mask.shape[1])]
        for j in range(mask.shape[0]):
            for i in set(group_rows):
                tile = layer.first_tile + j * layer.row_blocks + i
                of_tile = [g for g, row in enumerate(group_rows) if row == i and mask[j, g]]
                if not of_tile:
                    continue
                checked += 1
                cut = mask.copy()
                cut[j, of_tile] = False
                saved = energy - cost(found, {**keep, layer.name: cut}).energy_pj
                promised = price.input_pj[j, of_tile].sum() + price.sum_pj[j, i]
                ended = [hops for (_, target), hops in inputs.hops.items() if target == tile]
                ended += [hops for (source, _), hops in sums.hops.items() if source == tile]
                slack = sum(one_flit_pj(found.chip, hops) for hops in ended)
                assert -1e-9 * energy <= saved - promised < slack + 1e-9 * energy
                assert (promised > 0) == bool(ended)
    assert checked > 2


def test_prices_are_exact_where_every_flit_is_full() -> None:
    """With one-bit flits no flit is partly filled, so a tile's prices are its energy."""
    network = random_network(random.Random(4))
    found = plan(
        network.module(), network.example(), chip=chip(rows=9, columns=8, flit_bits=1, port=[1, 1]), group_size=2
    )
    full = cost(found, found.full())
    total = sum(float(p.input_pj.sum() + p.sum_pj.sum()) for p in (prices(found, layer) for layer in found.layers))
    assert total + full.of(kind="move").energy_pj == pytest.approx(full.energy_pj, rel=1e-12, abs=0)
