"""The options that `cannon optimize` and `cannon map` share: which network, on which chip, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

DEMO_MODEL = "cannon_fx.networks:digits_net"


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
