"""The op table: every op's homes and transfers are those that the tracer finds element by element."""

from __future__ import annotations

import operator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_cases import CASES
from oracle import chip
from test_cost import check, random_masks
from torch import Tensor, nn
from tracer import Tracer

from cannon_fx.compile import apply_cannon, plan
from cannon_fx.cost import cost
from cannon_fx.passes import home_moves
from cannon_fx.passes.home_rules import RULES
from cannon_fx.passes.homes import Homes
from cannon_fx.plans import Move

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CHIP = chip(rows=64, columns=8)  # a tile takes two output channels


class Ops(nn.Module):
    """Ops on activations whose homes differ along channels, along columns, and with constants and the port among.

    `back` reads the results element by element, so that its input tells every home.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.token = nn.Parameter(torch.zeros(1, 6, 6, 6))
        self.register_buffer("index", torch.zeros(6, dtype=torch.int64))
        self.register_buffer("statistic", torch.ones(6))
        self.lstm, self.gru = nn.LSTM(6, 3, batch_first=True), nn.GRU(6, 6)
        self.rnn, self.rnn_relu = nn.RNN(6, 3, batch_first=True), nn.RNN(6, 3, nonlinearity="relu")
        self.ops = [CASES[name] for name in names]
        with torch.no_grad():
            self.back = nn.Linear(self.between(torch.ones(1, 6, 6, 6)).shape[1], 2)

    def between(self, x: Tensor) -> Tensor:
        y, w = self.a(x), self.b(x)
        mixed = torch.cat([self.token[:, :2], w[:, :2], x[:, 2:3], y[:, 3:4]], 1).transpose(1, 2)
        results = [op(self, z, w, x) for op in self.ops for z in (y, y.transpose(1, 3), mixed)]
        return torch.cat([result.flatten().float() for result in results])[None]

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.between(x))


GROUPS = [list(CASES)[k : k + 6] for k in range(0, len(CASES), 6)]


@pytest.mark.parametrize("names", GROUPS, ids=" + ".join)
def test_ops_move_what_the_tracer_moves(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(Ops(names).eval(), torch.zeros(1, 6, 6, 6), chip=CHIP, group_size=1)
    truth = Tracer.of_plan(found, found.full())
    truth.unmapped = [layer.name for layer in found.unmapped]
    check(found, cost(found, found.full()), truth)
    assert {name.partition(",")[0] for name in names if " " not in name} - truth.ops == set()
    assert found.fallback_ops == ()
    monkeypatch.setattr(home_moves, "WALKED", 0)  # as for large tables
    assert [tables(move) for move in Homes()(found).moves] == [tables(move) for move in found.moves]


def tables(move: Move) -> list[object]:
    return [move.node, *(column.tolist() for column in (move.producer, move.source, move.target, move.elements))]


def test_every_op_of_the_table_has_a_case() -> None:
    table = {op.__name__ for op in RULES if op is not operator.getitem}
    assert table - {name.partition(",")[0] for name in CASES} == set()


# ------------------------------------------------------------------------------------------- random graphs

CHANCE = {"empty_like", "rand_like", "randn_like", "new_empty"}
"""Ops whose results are random, so that outputs cannot be compared."""

STEPS = ["conv", "linear", *sorted(set(CASES) - CHANCE - {"attention, grouped queries"})]
Step = tuple[str, int, int]


class RandomGraph(nn.Module):
    """Each step takes two earlier values; its result is brought back to [1, 6, 6, 6] by moving elements only."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.token = nn.Parameter(torch.randn(1, 6, 6, 6))
        self.register_buffer("index", torch.arange(6))
        self.register_buffer("statistic", torch.ones(6))
        self.lstm, self.gru = nn.LSTM(6, 3, batch_first=True), nn.GRU(6, 6)
        self.rnn, self.rnn_relu = nn.RNN(6, 3, batch_first=True), nn.RNN(6, 3, nonlinearity="relu")
        kinds = {"conv": lambda: nn.Conv2d(6, 6, 3, padding=1), "linear": lambda: nn.Linear(6, 6)}
        self.layers = nn.ModuleList(kinds[name]() if name in kinds else nn.Identity() for name, *_ in steps)
        self.first, self.last = nn.Conv2d(6, 6, 1), nn.Linear(216, 2)

    def forward(self, x: Tensor) -> Tensor:
        values = [x, self.token, self.first(x)]
        for (name, i, j), layer in zip(self.steps, self.layers, strict=True):
            z, w = values[-1 - i % len(values)], values[-1 - j % len(values)]
            result = layer(z) if name in ("conv", "linear") else CASES[name](self, z, w, x)
            flat = result.flatten().float()
            values.append(flat.repeat(-(-216 // len(flat)))[:216].view(1, 6, 6, 6))
        return self.last(values[-1].flatten(1))


def compare(steps: list[Step], rows: int, group_size: int) -> None:
    torch.manual_seed(0)
    model = RandomGraph(steps).eval()
    x = torch.randn(1, 6, 6, 6)
    before = model(x)
    found = apply_cannon(model, x, chip=chip(rows=rows, columns=8), group_size=group_size)
    torch.testing.assert_close(model(x), before, equal_nan=True)
    assert found.fallback_ops == ()
    for keep in (found.full(), random_masks(found, len(steps))):
        truth = Tracer.of_plan(found, keep)
        truth.unmapped = [layer.name for layer in found.unmapped]
        check(found, cost(found, keep), truth)


GRAPHS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(GRAPHS, st.sampled_from([18, 64]), st.integers(1, 3))
def test_random_graphs_cost_what_the_tracer_counts(steps: list[Step], rows: int, group_size: int) -> None:
    compare(steps, rows, group_size)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(GRAPHS, st.sampled_from([18, 64]), st.integers(1, 3))
def test_many_random_graphs_cost_what_the_tracer_counts(steps: list[Step], rows: int, group_size: int) -> None:
    compare(steps, rows, group_size)
