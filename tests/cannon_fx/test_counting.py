"""Counting by weights against a walk over every weight and element, and against the model of whole connections."""

from __future__ import annotations

import copy
from collections import Counter as Tally

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import apply_cannon, plan
from cannon_fx.cost import Cost, cost
from cannon_fx.counting import Counter

CHIP = {"chip": "demo-32nm", "group_size": 4}


def thinned(network: nn.Module, seed: int) -> nn.Module:
    """A copy with single weights, input channels and filters set to zero, at random."""
    network, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                weight = module.weight
                weight[torch.rand(weight.shape, generator=generator) < 0.9] = 0
                weight[torch.rand(weight.shape[0], generator=generator) < 0.3] = 0
                weight[:, torch.rand(weight.shape[1], generator=generator) < 0.3] = 0
    return network


def walked(counter: Counter, network: nn.Module) -> dict[tuple[str, str], Tally[tuple[int, int]]]:
    """Flits by (kind, layer) and (source, target), weight by weight; the rest is the counter's."""
    bits_of: dict[tuple[str, str], Tally[tuple[int, int]]] = {}
    found = counter.plan
    needed_pairs = counter.needed_pairs(counter.pairs(network))
    for layer in found.layers:
        weight = network.get_submodule(layer.name).weight.flatten(1).clone()
        weight[~torch.from_numpy(needed_pairs[layer.name].any(1))] = 0
        weight = weight.reshape(len(weight), -1, layer.taps)
        weight = weight[counter.columns[layer.name]][:, counter.rows[layer.name]]
        source = found.inputs[layer.name]
        inputs: Tally[tuple[int, int]] = Tally()
        sums: Tally[tuple[int, int]] = Tally()
        needed, sending = set(), set()
        for n, c, _ in weight.nonzero().tolist():
            i, j = c // layer.row_channels, n // layer.out_block
            needed.add((c, int(layer.tile_of[i, j])))
            sending.add((n, int(layer.tile_of[i, j]), int(layer.accumulator[j])))
        for c, target in needed:
            for k in np.flatnonzero(source.group == c):
                if source.home[k] != target:
                    inputs[int(source.home[k]), target] += (
                        int(source.elements[k]) * found.chip.precision.activation_bits
                    )
        for _, tile, accumulator in sending:
            if tile != accumulator:
                sums[tile, accumulator] += layer.positions * found.chip.precision.partial_sum_bits
        bits_of["input", layer.name], bits_of["partial_sum", layer.name] = inputs, sums
    flit = found.chip.noc.flit_bits
    return {key: Tally({pair: -(-bits // flit) for pair, bits in tally.items()}) for key, tally in bits_of.items()}


def by_phase(counter: Counter, counted: Cost) -> dict[tuple[str, str], Tally[tuple[int, int]]]:
    """The same, as counted."""
    transfers = counted.communication.transfers
    flits = transfers.flits(counter.plan.chip.noc.flit_bits)
    found: dict[tuple[str, str], Tally[tuple[int, int]]] = {}
    for phase, source, target, many in zip(transfers.phase, transfers.source, transfers.target, flits, strict=True):
        where = counted.phases[phase]
        found.setdefault((where.kind, where.name), Tally())[int(source), int(target)] += int(many)
    return found


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_the_weights_left_make_travel(network: nn.Module, image: Tensor, seed: int, compact: bool) -> None:
    found = plan(network, image, **CHIP)
    sparse = thinned(network, seed)
    counter = Counter.of(found).compact_for(sparse) if compact else Counter.of(found)
    counted = counter.count(sparse)
    truth, flits = walked(counter, sparse), by_phase(counter, counted)
    assert {key: tally for key, tally in flits.items() if key[0] != "move"} == {k: t for k, t in truth.items() if t}
    left = every = 0
    for layer in found.layers:
        weight = sparse.get_submodule(layer.name).weight
        left += int((weight[_needed(counter, sparse, layer.name)] != 0).sum())
        every += weight.numel()
    assert counted.density == left / every


@pytest.mark.parametrize("seed", range(5))
def test_a_residual_add_moves_the_channels_that_are_read_behind_it(
    network: nn.Module, image: Tensor, seed: int
) -> None:
    """TinyNet's shortcut: whichever operand stays, a channel crosses if down or side reads it and its homes differ."""
    sparse = thinned(network, seed)
    counter = Counter.of(plan(network, image, **CHIP))
    (move,) = counter.plan.moves
    reads = (sparse.down.weight != 0).any((2, 3)) & _needed(counter, sparse, "down")[:, None]
    reads_aside = (sparse.side.weight != 0).any((2, 3)) & _needed(counter, sparse, "side")[:, None]
    stem, inner = (next(layer for layer in counter.plan.layers if layer.name == name) for name in ("stem", "inner"))
    ends = {(int(s), int(t)) for s, t in zip(move.source, move.target, strict=True)}
    elements = 0
    for channel in torch.nonzero(reads.any(0) | reads_aside.any(0)).flatten().tolist():
        pair = int(stem.home_of_channel[channel]), int(inner.home_of_channel[channel])
        elements += 64 * (pair in ends or pair[::-1] in ends)
    bits = counter.count(sparse).communication.transfers
    phase = next(k for k, each in enumerate(counter.count(sparse).phases) if each.kind == "move")
    assert int(bits.bits[bits.phase == phase].sum()) == elements * counter.plan.chip.precision.activation_bits


def _needed(counter: Counter, network: nn.Module, name: str) -> Tensor:
    return torch.from_numpy(counter.needed_pairs(counter.pairs(network))[name].any(1))


@pytest.mark.parametrize("seed", range(3))
def test_whole_connections_cost_what_the_cost_model_says(network: nn.Module, image: Tensor, seed: int) -> None:
    applied = apply_cannon(network, image, **CHIP)
    generator = torch.Generator().manual_seed(seed)
    for module in applied.modules.values():
        module.cut(torch.rand(module.pattern.keep.shape, generator=generator) < 0.5)
    counter, priced = Counter.of(applied), cost(applied, applied.keep())
    counted = counter.count(network)
    pairs = counter.pairs(network)
    if all((counter.needed_pairs(pairs)[name] == pairs[name]).all() for name in pairs):
        assert counted.communication.flits.tolist() == priced.communication.flits.tolist()
        assert counted.energy_pj == priced.energy_pj
        assert counted.latency_cycles == priced.latency_cycles
    assert counted.energy_pj <= priced.energy_pj
    assert counted.density <= priced.density


def test_mapped_anew_it_never_needs_more(network: nn.Module, image: Tensor) -> None:
    found = plan(network, image, order="annealed", **CHIP)
    sparse = thinned(network, 0)
    before = Counter.of(found)
    after = before.compact_for(sparse)
    assert after.count(sparse).energy_pj < before.count(sparse).energy_pj
    assert after.plan.tiles <= before.plan.tiles


def test_mapped_anew_nothing_changes_as_long_as_nothing_is_cut(network: nn.Module, image: Tensor) -> None:
    found = plan(network, image, **CHIP)
    again = Counter.of(found).compact_for(network)
    assert again.count(network).communication.flits.tolist() == found.cost().communication.flits.tolist()
    assert again.count(network).energy_pj == found.cost().energy_pj
    assert again.plan.tiles == found.tiles
