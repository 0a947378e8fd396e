"""One training of one network: steps, epochs, and a state that can be saved after any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cannon_fx.errors import RunError
from cannon_fx.train.distillation import Teacher, check_share, divergence
from cannon_fx.train.evaluate import Loader, evaluate
from cannon_fx.train.protocol import Control, adopt_parameters_
from cannon_fx.train.random_state import random_state, set_random_state_
from cannon_fx.train.ranks import average_gradients_, gathered, rank, ranks, summed
from cannon_fx.train.synced_norm import synced_norms


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


@dataclass
class Position:
    """How far a training is: whole epochs, batches of the next one, and sums over those batches' samples."""

    epochs: int = 0
    batches: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0


class Training:
    """One training of one network, with a state that can be saved and loaded after any optimiser step.

    `start` is given the number of optimiser steps of the first `descent` of the epochs and returns the control that
    makes the network sparse in them; the rest fine-tune. Without it: plain training, same schedule. SGD with Nesterov
    momentum; the learning rate is constant during the descent, then falls along a cosine. `loss` is a mean over
    samples; `distill`, from 0 to 1, is the share of it that asks instead for the answers which the network, a
    classifier, gives now (distillation.py). `bfloat16` trains with autocast and channels last, about twice as fast;
    weights and evaluation stay in float32.

    A step is one batch of the loader: in `accumulate` parts one after another, which takes less memory, each of them
    divided among the processes of torch.distributed, which are all given the same loaders. Batch norm sees one part,
    of all processes. Raises RunError for a loader without length, and what `start` raises.
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
        distill: float = 0.0,
        device: torch.device | str = "cpu",
        bfloat16: bool = False,
        accumulate: int = 1,
    ) -> None:
        self.model, self.bfloat16, self.accumulate = model.to(device), bfloat16, accumulate
        self.format = torch.channels_last if bfloat16 else torch.contiguous_format
        if bfloat16:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.train_loader, self.val_loader, self.loss, self.device = train_loader, val_loader, loss, device
        self.epochs, self.learning_rate = epochs, learning_rate
        if not isinstance(train_loader, Sized) or not len(train_loader):
            raise RunError("train_loader has no length or no batches. Give a list or a DataLoader over a data set.")
        check_share(distill)
        self.distill, self.teacher = distill, Teacher(self.model) if distill else None
        self.batches = len(train_loader)
        self.descent_epochs = max(1, round(epochs * descent)) if start else round(epochs * descent)
        # Modules that the user keeps in eval mode, such as a frozen batch norm, stay there.
        self.kept_in_eval = [module for module in model.modules() if not module.training] if model.training else []
        self.optimizer = torch.optim.SGD(
            model.parameters(), learning_rate, momentum=momentum, nesterov=True, weight_decay=weight_decay
        )
        self.control = start(self.descent_epochs * self.batches) if start else None
        self.at, self.random_at_start = Position(), random_state()

    @property
    def done(self) -> int:
        """Epochs that are finished."""
        return self.at.epochs

    def __iter__(self) -> Iterator[Epoch]:
        while self.done < self.epochs:
            yield self.run_epoch()

    def run_epoch(self, after_step: Callable[[], None] = lambda: None) -> Epoch:
        """What is left of the next epoch, and the row of all of it. `after_step` is called after every step.

        Raises RunError when the loss is not finite, or for a batch that cannot be divided.
        """
        at, begin = self.at, time.perf_counter() - self.at.seconds
        self.model.train()
        for module in self.kept_in_eval:
            module.training = False
        with synced_norms(self.model):
            for x, y in self._batches():
                loss, right = self._step(x.to(self.device), y.to(self.device))
                at.loss, at.right, at.seen = at.loss + loss * len(y), at.right + right, at.seen + len(y)
                at.batches, at.seconds = at.batches + 1, time.perf_counter() - begin
                after_step()
        cost = self.control.cost() if self.control else None
        row = Epoch(
            epoch=at.epochs + 1,
            phase="train" if self.control is None else "sparsify" if at.epochs < self.descent_epochs else "fine-tune",
            loss=at.loss / at.seen,
            train_accuracy=at.right / at.seen,
            accuracy=evaluate(self.model, self.val_loader, self.device),
            energy_pj=cost.energy_pj if cost else math.nan,
            latency_cycles=cost.latency_cycles if cost else math.nan,
            density=cost.density if cost else 1.0,
            strength=self.control.strength if self.control else 0.0,
            seconds=time.perf_counter() - begin,
        )
        self.at = Position(epochs=at.epochs + 1)
        return row

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What is left of the epoch's batches, whether or not the loader draws on the global random generators."""
        if hasattr(self.train_loader, "set_epoch"):
            self.train_loader.set_epoch(self.at.epochs)
        now = random_state()
        if self.at.batches == 0:
            self.random_at_start = now
        set_random_state_(self.random_at_start)
        batches = iter(self.train_loader)
        for _ in range(self.at.batches):
            next(batches)
        if self.at.batches > 0:
            set_random_state_(now)
        return batches

    def _step(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """One optimiser step: the loss before it, and the right answers."""
        self._check(x, y)
        self._set_rate()
        totals = torch.zeros(2, device=x.device)
        for part_x, part_y in zip(x.tensor_split(self.accumulate), y.tensor_split(self.accumulate), strict=True):
            totals += self._backward(part_x.tensor_split(ranks())[rank()], part_y.tensor_split(ranks())[rank()], len(y))
        summed(totals)
        if self.control:
            totals[0] += self.control.regularizer()
        loss, right = totals.tolist()
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} in epoch {self.done + 1}, batch {self.at.batches + 1}. Lower the learning "
                f"rate (it is {self.learning_rate}) or check the inputs for values that are not finite."
            )
        average_gradients_(self.model.parameters())
        self.optimizer.step()
        if self.control:
            self.control.step_(self.optimizer)
        self.optimizer.zero_grad()
        return loss, int(right)

    def _backward(self, x: Tensor, y: Tensor, batch: int) -> Tensor:
        """Adds the gradients of some samples of a batch; their share of its loss, and how many of them are right."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            x = x.contiguous(memory_format=self.format) if x.dim() == 4 else x
            logits, given = self.model(x), self.teacher(x) if self.teacher else None
        loss = self.loss(logits.float() if self.bfloat16 else logits, y)
        if given is not None:
            loss = torch.lerp(loss, divergence(logits, given).to(loss.dtype), self.distill)
        loss = loss * (len(y) / batch)
        (loss * ranks()).backward()  # of the processes' gradients, the mean counts
        return torch.stack([loss.detach(), (logits.argmax(1) == y).sum()])

    def _check(self, x: Tensor, y: Tensor) -> None:
        if len(y) < self.accumulate * ranks():
            raise RunError(
                f"a batch of {len(y)} samples cannot be divided into {self.accumulate} parts for {ranks()} processes "
                "each. Make it larger, or leave the last, incomplete batch out."
            )
        if ranks() > 1 and self.at.batches == 0 and len(set(gathered((float(x.sum()), float(y.sum()))))) > 1:
            raise RunError(
                "the processes are given different batches. Give them all the same loaders, without DistributedSampler "
                "and shuffled from the same seed: every batch is divided among them."
            )

    def _set_rate(self) -> None:
        epoch = self.at.epochs + self.at.batches / self.batches
        progress = max(0.0, epoch - self.descent_epochs) / max(self.epochs - self.descent_epochs, 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (1 + math.cos(math.pi * progress)) / 2

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs to go on to the same result, of all processes; tensors and plain values."""
        return {
            "at": asdict(self.at),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "control": self.control.state_dict() if self.control else None,
            "teacher": self.teacher.network.state_dict() if self.teacher else None,
            "random": gathered([self.random_at_start, random_state()]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called, in as many processes."""
        self.at = Position(**state["at"])
        if self.control:
            self.control.load_state_dict(state["control"])
            adopt_parameters_(self.optimizer, self.model)
        self.model.load_state_dict(state["model"])
        if self.teacher:
            self.teacher.network.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random_at_start, now = state["random"][rank()]
        set_random_state_(now)
