"""Models inside models: what torch.compile and data parallelism wrap around the user's own."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own model. Its parameters and sub-modules are those that the wrapper runs."""
    while True:
        compiled = getattr(model, "_orig_mod", None)  # torch.compile's; importing its class takes a second
        if isinstance(compiled, nn.Module):
            model = compiled
        elif isinstance(model, (DistributedDataParallel, DataParallel)):
            model = model.module
        else:
            return model
