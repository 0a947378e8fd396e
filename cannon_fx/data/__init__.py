"""Image data: read a data set once, then iterate over it in reproducible minibatches."""

from cannon_fx.data.batches import Batches
from cannon_fx.data.images import ImageData, Split, hold_out
from cannon_fx.data.load import load_data

__all__ = ["Batches", "ImageData", "Split", "hold_out", "load_data"]
