"""A PyTorch compiler for communication-aware sparse networks on tiled in-memory-computing chips.

>>> from cannon_fx import apply_cannon, plan, retrain, load, Chip
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cannon_fx.applied import AppliedPlan
    from cannon_fx.compile import apply_cannon, plan
    from cannon_fx.errors import CannonError, CaptureError, DataError, InfeasibleError, MappingError, RunError
    from cannon_fx.explaining import explain
    from cannon_fx.hw.chip import Chip
    from cannon_fx.hw.errors import ChipError
    from cannon_fx.loading import load
    from cannon_fx.plans import Plan
    from cannon_fx.quantise.model import quantised
    from cannon_fx.train.retrain import retrain
    from cannon_fx.train.training import Training

__version__ = "0.1.0"

# Imported when first asked for: the command line and the hardware model need no torch.
_HOME = {
    "AppliedPlan": "applied",
    "apply_cannon": "compile",
    "plan": "compile",
    **dict.fromkeys(
        ("CannonError", "CaptureError", "DataError", "InfeasibleError", "MappingError", "RunError"), "errors"
    ),
    "Chip": "hw.chip",
    "ChipError": "hw.errors",
    "explain": "explaining",
    "load": "loading",
    "Plan": "plans",
    "quantised": "quantise.model",
    "Training": "train.training",
    "retrain": "train.retrain",
}

__all__ = [
    "AppliedPlan",
    "CannonError",
    "CaptureError",
    "Chip",
    "ChipError",
    "DataError",
    "InfeasibleError",
    "MappingError",
    "Plan",
    "RunError",
    "Training",
    "apply_cannon",
    "explain",
    "load",
    "plan",
    "quantised",
    "retrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
