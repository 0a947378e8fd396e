"""The ready-made loop: descend to the budget, then fine-tune with the masks frozen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cannon_fx.applied import applied_plan
from cannon_fx.capture import evaluating
from cannon_fx.cost import Cost
from cannon_fx.errors import RunError
from cannon_fx.train.budget import Budget
from cannon_fx.train.landing import Pricing

Loader = Iterable[tuple[Tensor, Tensor]]
"""Minibatches (inputs, labels); with `__len__`, and with `set_epoch(epoch)` if its order depends on the epoch."""


class Control(Protocol):
    """What makes a network sparse while it is trained: BudgetControl, or one of the baselines."""

    @property
    def landed(self) -> bool:
        """True once the network's connections are final."""

    @property
    def strength(self) -> float:
        """Of its penalty; 0 without one."""

    def regularizer(self) -> Tensor:
        """A scalar to add to the loss."""

    def step_(self, optimizer: Optimizer) -> None:
        """Called after `optimizer.step()`, before the gradients are cleared."""

    def cost(self) -> Cost:
        """Of the network as it is now."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a resumed run."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called, before the network's own weights are loaded."""


@dataclass(frozen=True)
class Epoch:
    """One row of the history. `accuracy` is on the validation data."""

    epoch: int
    phase: Literal["train", "sparsify", "fine-tune"]
    loss: float
    train_accuracy: float
    accuracy: float
    energy_pj: float
    latency_cycles: float
    density: float
    strength: float
    seconds: float


def adopt_parameters_(optimizer: Optimizer, model: nn.Module) -> None:
    """Gives the optimiser the parameters that `model` has now, where a control has replaced them; momentum restarts."""
    (group,) = optimizer.param_groups
    parameters = list(model.parameters())
    if any(old is not new for old, new in zip(group["params"], parameters, strict=True)):
        group["params"] = parameters
        optimizer.state.clear()


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, device: torch.device | str = "cpu") -> float:
    """Share of `loader`'s samples that `model` classifies right, in eval mode."""
    right, seen = 0, 0
    with evaluating(model):
        for x, y in loader:
            right += int((model(x.to(device)).argmax(1) == y.to(device)).sum())
            seen += len(y)
    return right / max(seen, 1)


class Training:
    """One training of one network, epoch by epoch, with a state that can be saved and loaded between epochs.

    `start` is given the number of optimiser steps of the first `descent` of the epochs and returns the control that
    makes the network sparse in them; the rest fine-tune. Without it: plain training, same schedule. SGD with Nesterov
    momentum; the learning rate is constant during the descent, then falls along a cosine. `bfloat16` trains with
    autocast and channels last, about twice as fast; weights and evaluation stay float32. Raises RunError for a
    loader without length, and what `start` raises.
    """

    def __init__(
        self,
        model: nn.Module,
        train_loader: Loader,
        val_loader: Loader,
        *,
        epochs: int,
        start: Callable[[int], Control] | None = None,
        descent: float = 0.5,
        learning_rate: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
        device: torch.device | str = "cpu",
        bfloat16: bool = False,
    ) -> None:
        self.model, self.bfloat16 = model.to(device), bfloat16
        self.format = torch.channels_last if bfloat16 else torch.contiguous_format
        if bfloat16:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.train_loader, self.val_loader, self.loss, self.device = train_loader, val_loader, loss, device
        self.epochs, self.done, self.learning_rate = epochs, 0, learning_rate
        if not isinstance(train_loader, Sized) or not len(train_loader):
            raise RunError("train_loader has no length or no batches. Give a list or a DataLoader over a data set.")
        self.batches = len(train_loader)
        self.descent_epochs = max(1, round(epochs * descent)) if start else round(epochs * descent)
        # Modules that the user keeps in eval mode, such as a frozen batch norm, stay there.
        self.kept_in_eval = [module for module in model.modules() if not module.training] if model.training else []
        self.optimizer = torch.optim.SGD(
            model.parameters(), learning_rate, momentum=momentum, nesterov=True, weight_decay=weight_decay
        )
        self.control = start(self.descent_epochs * self.batches) if start else None

    def __iter__(self) -> Iterator[Epoch]:
        while self.done < self.epochs:
            yield self.run_epoch()

    def run_epoch(self) -> Epoch:
        """The next epoch and its row. Raises RunError when the loss is not finite."""
        begin = time.perf_counter()
        if hasattr(self.train_loader, "set_epoch"):
            self.train_loader.set_epoch(self.done)
        phase = self._phase()
        self.model.train()
        for module in self.kept_in_eval:
            module.training = False
        total, right, seen = 0.0, 0, 0
        for batch, (x, y) in enumerate(self.train_loader):
            self._set_rate(self.done + batch / self.batches)
            x, y = x.to(self.device), y.to(self.device)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = self.model(x.contiguous(memory_format=self.format) if x.dim() == 4 else x)
            loss = self.loss(logits.float(), y)
            if self.control:
                loss = loss + self.control.regularizer()
            if not torch.isfinite(loss):
                raise RunError(
                    f"the loss became {loss.item()} in epoch {self.done + 1}, batch {batch + 1}. Lower the learning "
                    f"rate (it is {self.learning_rate}) or check the inputs for values that are not finite."
                )
            loss.backward()
            self.optimizer.step()
            if self.control:
                self.control.step_(self.optimizer)
            self.optimizer.zero_grad()
            total += loss.item() * len(y)
            right += int((logits.argmax(1) == y).sum())
            seen += len(y)
        self.done += 1
        cost = self.control.cost() if self.control else None
        return Epoch(
            epoch=self.done,
            phase=phase,
            loss=total / seen,
            train_accuracy=right / seen,
            accuracy=evaluate(self.model, self.val_loader, self.device),
            energy_pj=cost.energy_pj if cost else math.nan,
            latency_cycles=cost.latency_cycles if cost else math.nan,
            density=cost.density if cost else 1.0,
            strength=self.control.strength if self.control else 0.0,
            seconds=time.perf_counter() - begin,
        )

    def _phase(self) -> Literal["train", "sparsify", "fine-tune"]:
        if self.control is None:
            return "train"
        return "fine-tune" if self.control.landed else "sparsify"

    def _set_rate(self, epoch: float) -> None:
        left = self.epochs - self.descent_epochs
        progress = max(0.0, epoch - self.descent_epochs) / max(left, 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (1 + math.cos(math.pi * progress)) / 2

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs to go on to the same result; tensors and plain values only."""
        return {
            "done": self.done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "control": self.control.state_dict() if self.control else None,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called."""
        self.done = state["done"]
        if self.control:
            self.control.load_state_dict(state["control"])
            adopt_parameters_(self.optimizer, self.model)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])


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
