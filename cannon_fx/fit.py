"""Whether a network and a data set fit each other, asked before any training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cannon_fx.config import RunConfig
from cannon_fx.data import ImageData
from cannon_fx.errors import RunError
from cannon_fx.plans import Plan
from cannon_fx.train.ranks import ranks


def check_fit(model: nn.Module, plan: Plan, data: ImageData, config: RunConfig) -> None:
    """Raises RunError for a network that cannot be trained to tell this data's classes apart."""
    graph = plan.exported.graph
    outputs = [n.meta.get("val") for n in graph.output_node().all_input_nodes]
    shapes = [list(o.shape) if isinstance(o, Tensor) else type(o).__name__ for o in outputs]
    if len(outputs) != 1 or not isinstance(outputs[0], Tensor) or outputs[0].dim() != 2:
        raise RunError(
            f"{config.model} gives {shapes} for one image; it must give one tensor [1, classes]. Wrap it so "
            "that it returns its logits alone."
        )
    if outputs[0].shape[1] < data.classes:
        raise RunError(
            f"{config.model} has {outputs[0].shape[1]} outputs, but {data.name} has {data.classes} "
            "classes. Give the network an output for each."
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise RunError(f"every parameter of {config.model} is frozen. Let some require a gradient.")
    last = len(data.train) % config.batch_size or config.batch_size
    smallest, normalised = last // config.accumulate, any(isinstance(m, _BatchNorm) for m in model.modules())
    lonely = normalised and smallest == 1 and last < config.batch_size
    if smallest < ranks() or lonely:
        norm = "; batch norm cannot be trained on a single image" if lonely else ""
        raise RunError(
            f"batch_size {config.batch_size} leaves {last} of {len(data.train)} images for the last batch, too few for "
            f"{config.accumulate} x {ranks()} (accumulate x processes){norm}. Take another batch_size."
        )
