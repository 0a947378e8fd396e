"""The names of the methods that `cannon optimize` and `cannon compare` know. Light: the command line imports it."""

from __future__ import annotations

from typing import Literal

Method = Literal[
    "dense",
    "unstructured",
    "filter-l1",
    "depgraph",
    "block-magnitude",
    "cost-blind",
    "distance",
    "cannon",
]

MEANING: dict[Method, str] = {
    "dense": "trained on, nothing removed",
    "unstructured": "gradual magnitude pruning of single weights, cubic schedule",
    "filter-l1": "the same share of every layer's filters, those of least L1 norm",
    "depgraph": "coupled channel groups by torch-pruning: sparse learning, then the least of all layers together",
    "block-magnitude": "gradual magnitude pruning of connections, cubic schedule",
    "cost-blind": "channels with all who read them, every read at the same price",
    "distance": "channels with all who read them, at the price of the links that the reads cross (SS_Mask)",
    "cannon": "channels with all who read them, at the price of the communication energy that ends with them",
}
