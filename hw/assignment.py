"""Placements by linear algebra: the spectral order of the traffic, and scipy's FAQ for quadratic assignment.

Both look at energy alone; neither searches, so `anneal` beats them where it may take its time.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import quadratic_assignment

from .arrays import Ints
from .objective import Objective

CHAIN = 1e-3
"""Weight of the chain that joins all tiles, as a share of the mean traffic between two tiles that have any."""


def spectral(objective: Objective, start: Ints) -> Ints:
    """The nodes of `start`, filled in the order of the Fiedler vector of the traffic, from its better end.

    That is the eigenvector to the second smallest eigenvalue of the normalised Laplacian: tiles with much traffic
    between them come near in it. A weak chain through the tiles as they are numbered joins parts without traffic.
    It needs no numbering that follows the network; where there is one, that is the better order.
    """
    if objective.tiles < 3 or not objective.flits[:-1, :-1].any():
        return start
    traffic = (objective.flits + objective.flits.T)[:-1, :-1]
    tile = np.arange(objective.tiles - 1)
    weak = CHAIN * traffic[traffic > 0].mean()
    traffic[tile, tile + 1] += weak
    traffic[tile + 1, tile] += weak
    scale = 1 / np.sqrt(traffic.sum(0))
    laplacian = np.eye(objective.tiles) - scale[:, None] * traffic * scale
    fiedler = scale * eigh(laplacian, subset_by_index=[1, 1])[1][:, 0]
    order = np.argsort(fiedler, kind="stable")
    found = []
    for tiles in (order, order[::-1]):
        node = start.copy()
        node[tiles] = start[:-1]
        found.append(node)
    return min(found, key=objective)


def faq(objective: Objective, start: Ints, seed: int, restarts: int) -> Ints:
    """The best of `restarts` runs of FAQ (Vogelstein et al. 2015): from the barycentre, then from random matrices.

    Free nodes are filled with tiles without traffic. Of `start`, only the port's node is used, where the port is fixed.
    """
    nodes, port = len(objective.cost), objective.tiles
    flits = np.zeros((nodes, nodes))
    flits[: port + 1, : port + 1] = objective.flits
    found = []
    for k, rng in enumerate(np.random.default_rng(seed).spawn(restarts)):
        result = quadratic_assignment(
            flits,
            objective.cost,
            method="faq",
            options={
                "partial_match": np.array([[port, start[-1]]]),
                "P0": "randomized" if k else "barycenter",
                "rng": rng,
            },
        )
        found.append(result.col_ind[: port + 1])
    return min(found, key=objective)
