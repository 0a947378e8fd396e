"""Filter pruning down to a budget: whole channels leave the network, which becomes smaller and is mapped anew.

Which channels hang together (through shortcuts, batch norms, concatenations) is torch-pruning's to find.
"""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cannon_fx.capture import evaluating
from cannon_fx.cost import Cost
from cannon_fx.counting import Counter
from cannon_fx.errors import InfeasibleError, RunError
from cannon_fx.plans import Plan
from cannon_fx.train.baselines.descent import Descent
from cannon_fx.train.budget import UNIT, Budget, measure
from cannon_fx.train.penalty import effective_rate
from cannon_fx.train.protocol import adopt_parameters_

Ranking = Literal["l1", "depgraph"]

ROUNDS = 3
"""How often channels leave, at equal distances over the descent."""

LEARNING = 5e-4
"""DepGraph's strength of sparse learning, as its authors set it for CIFAR-10."""

STEPS = 128
"""How finely the share of channels is searched for."""


def torch_pruning() -> Any:
    """The package, which only these baselines need. Raises RunError when it is missing."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError:
        raise RunError(
            "filter-l1 and depgraph need the package torch-pruning: pip install 'cannon-fx[compare]', or leave "
            "them out of --methods."
        ) from None


class FilterControl(Descent):
    """Takes the weakest channels out in `ROUNDS` rounds; the last one meets the budget.

    "l1" (Li et al., ICLR 2017): the same share of every layer's filters, those of least L1 norm. "depgraph" (Fang et
    al., CVPR 2023): the least of all coupled groups of the network together by their L2 norm, after sparse learning.
    `replan` maps the smaller network; its cost is that of the smaller network on its own, fewer tiles.
    """

    def __init__(
        self,
        model: nn.Module,
        replan: Callable[[nn.Module], Plan],
        sample: Tensor,
        limit: float,
        budget: Budget,
        steps: int,
        ranking: Ranking,
    ) -> None:
        self.package = torch_pruning()
        self.model, self.replan, self.sample, self.ranking = model, replan, sample, ranking
        self.limit, self.budget, self.steps, self.step = limit, budget, steps, 0
        importance = self.package.importance.GroupMagnitudeImportance
        l1 = {"p": 1, "group_reduction": "first", "normalizer": None}
        self._importance = importance(**l1) if ranking == "l1" else importance(p=2)
        self.rounds = [max(1, steps * (k + 1) // ROUNDS) for k in range(ROUNDS)]
        self.taken: list[Any] = []
        self.kept_whole = self._misjudged()
        self._rebuild()
        if (least := self._smaller_costs(self._most() / STEPS)) > limit:
            raise InfeasibleError(
                f"{ranking} cannot meet the budget of {limit:,.0f} {UNIT[budget.metric]} for {budget.metric}: without "
                f"nearly all of the channels that it can take out, the network still needs {least:,.0f}. Ask for less."
            )

    def step_(self, optimizer: Optimizer) -> None:
        if self.landed:
            return
        if self.ranking == "depgraph":
            self._learn_(optimizer)
        self.step += 1
        for left in range(self.rounds.count(self.step)):
            self._shrink_(ROUNDS - len(self.taken) - left)
            adopt_parameters_(optimizer, self.model)

    def cost(self) -> Cost:
        return Counter.of(self.plan).count(self.model)

    def _learn_(self, optimizer: Optimizer) -> None:
        """One step down the gradient of the group penalty, apart from the loss and its momentum."""
        rate = effective_rate(optimizer.param_groups[0])
        optimizer.zero_grad(set_to_none=False)
        self.learner.regularize(self.model)
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(rate * parameter.grad)

    def _shrink_(self, left: int) -> None:
        """One of `left` rounds: of what has to go, an equal share, so that the last round lands."""
        low, high = 0, self._most()
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._smaller_costs(middle / STEPS) <= self.limit else (middle + 1, high)
        share = 1 - (1 - low / STEPS) ** (1 / left)
        pruner = self._pruner(self.model, share)
        pruner.step()
        self.taken.append(pruner.pruning_history())
        self._rebuild()

    def _smaller_costs(self, share: float) -> float:
        """The metric's value of a copy without so many of its channels."""
        smaller = copy.deepcopy(self.model)
        self._pruner(smaller, share).step()
        return measure(self.budget.metric, Counter.of(self.replan(smaller)).count(smaller))

    def _rebuild(self) -> None:
        self.learner, self.plan = self._pruner(self.model, 0.0, self._importance), self.replan(self.model)

    def _most(self) -> int:
        """The largest share to search, in STEPS: at least one channel of every group stays."""
        whole = {self.model.get_submodule(name) for name in self.kept_whole}
        channels = [len(g[0].idxs) for g in self._groups(self.model) if g[0].dep.target.module not in whole]
        if not channels:
            return 0
        least = 1 / min(channels) if self.ranking == "l1" else len(channels) / sum(channels)
        return int(STEPS * (1 - least))

    def _protected(self, group: Any) -> Any:
        """The importance of a group's channels, with the first of them out of reach: torch-pruning leaves a group
        whole when all of it would go."""
        importance = self._importance(group)
        importance[importance.argmax()] = math.inf
        return importance

    def _pruner(self, model: nn.Module, share: float, importance: Callable[[Any], Any] | None = None) -> Any:
        with evaluating(model):
            return self.package.pruner.GroupNormPruner(
                model,
                self.sample,
                importance or self._protected,
                reg=LEARNING,
                global_pruning=self.ranking == "depgraph",
                pruning_ratio=share,
                ignored_layers=[model.get_submodule(name) for name in self.kept_whole],
            )

    def _misjudged(self) -> list[str]:
        """Layers whose channels must stay: the outputs, and groups that torch-pruning does not see through.

        Zeroing half of a group's channels and taking them out must give the same outputs. Where it does not
        (shortcuts padded with zeros, layer norms), the group stays whole.
        """
        names = {module: name for name, module in self.model.named_modules()}
        whole: list[str] = []
        for number, group in enumerate(self._groups(self.model)):
            try:
                right = self._same_without(number)
            except Exception:  # a network that no longer fits together fails in many ways
                right = False
            if not right:
                whole += [names[dep.target.module] for dep, _ in self._writers(group)]
        return whole

    def _groups(self, model: nn.Module) -> Iterator[Any]:
        with evaluating(model):
            graph = self.package.DependencyGraph().build_dependency(model, example_inputs=self.sample)
        yield from graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear])

    def _writers(self, group: Any) -> Iterator[Any]:
        """The items of a group whose module writes its channels: layers' outputs, and norms."""
        for item in group:
            if item.dep.handler.__name__ == "prune_out_channels" and any(
                True for _ in item.dep.target.module.parameters()
            ):
                yield item

    def _same_without(self, number: int) -> bool:
        model = copy.deepcopy(self.model).eval()
        group = list(self._groups(model))[number]
        layer, take_out, channels = group[0].dep.target.module, group[0].dep.handler, len(group[0].idxs)
        group = group._DG.get_pruning_group(layer, take_out, list(range(channels // 2, channels)))
        images = torch.randn(2, *self.sample.shape[1:], generator=torch.Generator().manual_seed(0)).to(self.sample)
        with torch.no_grad():
            for dep, idxs in self._writers(group):
                for parameter in dep.target.module.parameters(recurse=False):
                    parameter[idxs] = 0
            zeroed = model(images)
            group.prune()
            return bool(torch.allclose(model(images), zeroed, rtol=1e-4, atol=1e-5))

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.taken = state["step"], state["taken"]
        for history in self.taken:
            self._pruner(self.model, 0.0).load_pruning_history(history)
        self._rebuild()
