"""Counting by weights against a walk over every weight and element, and against the model of whole connections."""

from __future__ import annotations

import copy
from collections import Counter as Tally

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import apply_cannon, plan
from cannon_fx.cost import cost
from cannon_fx.counting import Counter
from cannon_fx.plans import Plan

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


def walked(found: Plan, network: nn.Module) -> dict[tuple[str, str], Tally[tuple[int, int]]]:
    """Flits by (kind, layer) and (source, target), weight by weight; homes and tiles are the plan's."""
    bits_of: dict[tuple[str, str], Tally[tuple[int, int]]] = {}
    single = Counter.of(found).plan  # where each channel's elements live
    for layer in found.layers:
        weight = network.get_submodule(layer.name).weight.reshape(layer.out_channels, layer.in_channels, -1)
        source = single.inputs[layer.name]
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


@pytest.mark.parametrize("seed", range(5))
def test_what_the_weights_left_make_travel(network: nn.Module, image: Tensor, seed: int) -> None:
    found = plan(network, image, **CHIP)
    sparse = thinned(network, seed)
    counted = Counter.of(found).count(sparse)
    transfers = counted.communication.transfers
    flits = transfers.flits(found.chip.noc.flit_bits)
    by_phase: dict[tuple[str, str], Tally[tuple[int, int]]] = {}
    for phase, source, target, many in zip(transfers.phase, transfers.source, transfers.target, flits, strict=True):
        where = counted.phases[phase]
        by_phase.setdefault((where.kind, where.name), Tally())[int(source), int(target)] += int(many)
    truth = walked(found, sparse)
    assert {key: tally for key, tally in by_phase.items() if key[0] != "move"} == {k: t for k, t in truth.items() if t}
    layers = [sparse.get_submodule(layer.name).weight for layer in found.layers]
    assert counted.density == sum(int((w != 0).sum()) for w in layers) / sum(w.numel() for w in layers)


@pytest.mark.parametrize("seed", range(3))
def test_whole_connections_cost_what_the_cost_model_says(network: nn.Module, image: Tensor, seed: int) -> None:
    applied = apply_cannon(network, image, **CHIP)
    generator = torch.Generator().manual_seed(seed)
    for module in applied.modules.values():
        module.cut(torch.rand(module.pattern.keep.shape, generator=generator) < 0.5)
    counted, priced = Counter.of(applied).count(network), cost(applied, applied.keep())
    assert counted.communication.flits.tolist() == priced.communication.flits.tolist()
    assert counted.energy_pj == priced.energy_pj
    assert counted.latency_cycles == priced.latency_cycles
    assert counted.density == priced.density


def test_tiles_placed_again_never_need_more(network: nn.Module, image: Tensor) -> None:
    found = plan(network, image, order="annealed", **CHIP)
    sparse = thinned(network, 0)
    before = Counter.of(found)
    after = before.placed_for(sparse, "annealed")
    assert after.count(sparse).energy_pj < before.count(sparse).energy_pj
    assert after.count(sparse).communication.flits.tolist() == before.count(sparse).communication.flits.tolist()
