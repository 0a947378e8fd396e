"""The ready-made loop: descend to the budget, then fine-tune with the masks frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from cannon_fx.applied import applied_plan
from cannon_fx.train.budget import Budget
from cannon_fx.train.evaluate import Loader
from cannon_fx.train.protocol import Control
from cannon_fx.train.training import Epoch, Training
from cannon_fx.train.unit_prices import Pricing


def retrain(
    model: nn.Module,
    train_loader: Loader,
    val_loader: Loader,
    *,
    budget: str | Budget = "energy/3",
    pricing: Pricing = "energy",
    epochs: int = 30,
    on_epoch: Callable[[Epoch], None] | None = None,
    **options: Any,
) -> list[Epoch]:
    """Retrains a network from `apply_cannon` until it needs no more than `budget`, and returns the history.

    Half of the epochs descend to the budget, the other half fine-tune. `options` are those of `Training`.
    Raises InfeasibleError before training starts, MappingError when the model was not applied.
    """
    history: list[Epoch] = []

    def start(steps: int) -> Control:
        return applied_plan(model).set_budget(budget, steps, pricing=pricing)

    for epoch in Training(model, train_loader, val_loader, epochs=epochs, start=start, **options):
        history.append(epoch)
        if on_epoch:
            on_epoch(epoch)
    return history
