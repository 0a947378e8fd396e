"""What a training asks of the control that makes its network sparse."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from cannon_fx.cost import Cost


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


def adopt_parameters_(optimizer: Optimizer, model: nn.Module) -> None:
    """Gives the optimiser the parameters that `model` has now, where a control has replaced them; momentum restarts."""
    (group,) = optimizer.param_groups
    parameters = list(model.parameters())
    if any(old is not new for old, new in zip(group["params"], parameters, strict=True)):
        group["params"] = parameters
        optimizer.state.clear()
