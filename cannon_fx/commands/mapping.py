"""The options that `cannon optimize`, `map` and `sweep` share: which network, on which chip, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

DEMO_MODEL = "cannon_fx.networks:digits_net"

MOST_ELEMENTS = 1_000_000_000
"""Of one sample."""


@dataclass(frozen=True)
class MappingOptions:
    """What is mapped onto which chip."""

    model: str | None = None
    """package.module:factory, called without arguments; the built-in digits network if left out"""
    data: str | None = None
    """digits, cifar10:DIR (the python batches) or npz:FILE"""
    chip: str | None = None
    """a chip that comes with cannon_fx, or the path of a .toml file (siam-32nm; for the demo demo-32nm)"""
    group_size: int | None = None
    """input channels per connection (16; for the demo 4)"""
    order: Literal["row-major", "snake", "hilbert", "spectral", "faq", "annealed"] = "snake"
    """how tiles are placed: along a curve, or optimised for the network's own traffic (annealed is the best)"""
    targets: tuple[str, ...] = ()
    """map only these layers: name, glob, class, or re:REGEX"""
    ignore: tuple[str, ...] = ()
    """leave these layers alone: name, glob, class, or re:REGEX"""

    @property
    def demo(self) -> bool:
        """True for the built-in network."""
        return self.model is None

    def default(self, given: T | None, for_demo: T, otherwise: T) -> T:
        """An option's value; some defaults fit the demo's small network only."""
        return given if given is not None else for_demo if self.demo else otherwise

    def mapping(self) -> dict[str, Any]:
        """The compiler's options."""
        return {
            "chip": self.default(self.chip, "demo-32nm", "siam-32nm"),
            "group_size": self.default(self.group_size, 4, 16),
            "order": self.order,
            "targets": self.targets,
            "ignore": self.ignore,
        }

    def source(self) -> str:
        """Where the data comes from. Raises RunError for a network of one's own without data."""
        from cannon_fx.errors import RunError

        if not self.demo and self.data is None:
            raise RunError(
                "--model was given without --data. Say what to read: digits, cifar10:DIR or npz:FILE; "
                "cannon map also takes --input-shape, e.g. 3 224 224."
            )
        return self.data or "digits"


@dataclass(frozen=True)
class NetworkOptions(MappingOptions):
    """Where nothing is trained, the shape of a sample is enough."""

    input_shape: tuple[int, ...] = ()
    """one sample's shape, e.g. 3 224 224, instead of --data"""

    def network(self) -> tuple[nn.Module, Tensor]:
        """The network and a sample. Raises RunError."""
        import torch

        from cannon_fx.data import load_data
        from cannon_fx.errors import RunError
        from cannon_fx.factory import load_model

        if any(size < 1 for size in self.input_shape) or math.prod(self.input_shape) > MOST_ELEMENTS:
            raise RunError(
                f"input_shape is {self.input_shape}: give positive sizes, without the batch, of at most "
                f"{MOST_ELEMENTS:,} elements in all."
            )
        shape = self.input_shape
        sample = torch.zeros(()).expand(1, *shape) if shape else load_data(self.source()).train.images[:1].float()
        return load_model(self.model or DEMO_MODEL), sample
