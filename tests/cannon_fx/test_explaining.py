"""explain: every call, its layer, sparse or dense and why, what it communicates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cannon_fx import apply_cannon, explain
from cannon_fx.kernels.choice import Choice


def test_any_model(network: nn.Module, image: Tensor) -> None:
    torch._dynamo.reset()
    with torch.no_grad():
        text = explain(network.eval(), image)
    assert text.startswith("graph 1 of 1: ")
    for name in ("stem", "inner", "down", "side", "hidden", "head"):
        assert f"# {name}: dense: " in text
    assert "gradients may be wanted" in explain(network, (image,))


def test_sparse_network_and_graph_breaks(network: nn.Module, image: Tensor) -> None:
    torch._dynamo.reset()
    plan = apply_cannon(network.eval(), image, chip="demo-32nm", group_size=2)
    plan.modules["hidden"].choice = Choice(True, "sparse: on request")
    network.down.register_forward_hook(lambda *_: torch._dynamo.graph_break())
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            text = explain(network, image)
        assert text.startswith("graph 1 of 3: ")
        cost = plan.cost().of(name="hidden")
        assert f"# hidden: sparse: on request; {cost.energy_pj:,.0f} pJ, {cost.latency_cycles:,.0f} cycles" in text
        assert "# head: dense: nothing is cut" in text
