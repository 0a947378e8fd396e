"""The options of a retraining, which `cannon optimize` and the studies of `cannon sweep` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cannon_fx.commands.mapping import DEMO_MODEL, MappingOptions
from cannon_fx.methods import Method

if TYPE_CHECKING:
    from cannon_fx.config import RunConfig


@dataclass(frozen=True)
class TrainingOptions:
    """To which budget, and how."""

    budget: str = "energy/3"
    """energy/3, latency/2, edp/6, or an absolute value such as energy=120000 (pJ)"""
    epochs: int = 40
    """epochs of each method, half to reach the budget, half to fine-tune"""
    dense_epochs: int | None = None
    """epochs to train the dense network first (0; for the demo 20)"""
    base_weights: Path | None = None
    """a state_dict to begin with, .safetensors or written by torch.save"""
    batch_size: int = 64
    """samples per step"""
    learning_rate: float = 0.05
    """of SGD with Nesterov momentum 0.9"""
    bfloat16: bool = False
    """train with bfloat16 autocast and channels last; weights and evaluation stay float32"""
    quantised: bool = False
    """report the accuracy with the chip's integers and ADCs too (about 100 times the work of a plain evaluation)"""
    accumulate: int = 1
    """parts in which each step's samples are taken one after another; more parts need less memory"""
    distill: float = 0.0
    """share of the loss, 0 to 1, that asks for the answers of the network as it was given, not for the labels"""
    device: str = "cpu"
    """cpu, cuda, cuda:1, …"""
    seed: int = 0
    """of weights, data order and augmentation"""


def run_config(mapping: MappingOptions, training: TrainingOptions, methods: tuple[Method, ...]) -> RunConfig:
    """The run's configuration, with defaults that fit the demo or a network of one's own. Raises RunError."""
    from cannon_fx.config import RunConfig

    return RunConfig(
        **mapping.mapping(),
        model=mapping.model or DEMO_MODEL,
        data=mapping.source(),
        budget=training.budget,
        methods=methods,
        dense_epochs=mapping.default(training.dense_epochs, 20, 0),
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        device=training.device,
        bfloat16=training.bfloat16,
        quantised=training.quantised,
        accumulate=training.accumulate,
        distill=training.distill,
        seed=training.seed,
        base_weights=None if training.base_weights is None else str(training.base_weights),
    )
