"""Placements by linear algebra: the spectral order of the traffic, and scipy's FAQ for the quadratic assignment problem.

Both look at energy alone; neither searches, so `anneal` beats them where it may take its time.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import quadratic_assignment

from .noc import Ints
from .objective import Objective

CHAIN = 1e-3
"""Weight of the chain that joins all tiles, as a share of the mean traffic between two tiles that have any."""


def spectral(objective: Objective, start: Ints) -> Ints:
    """The routers of `start`, filled in the order of the Fiedler vector of the traffic, from its better end.

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
        router = start.copy()
        router[tiles] = start[:-1]
        found.append(router)
    return min(found, key=objective)


def faq(objective: Objective, start: Ints, seed: int, restarts: int) -> Ints:
    """The best of `restarts` runs of FAQ (Vogelstein et al. 2015): from the barycentre, then from random matrices.

    Free routers are filled with tiles without traffic. The port becomes one more tile, fixed at one more router that
    lies where the port's own does. Of `start`, only the port's router is used.
    """
    tiles, routers = objective.tiles, len(objective.cost)
    if tiles == 0:
        return start
    place = np.append(np.arange(routers), start[-1])
    which = np.append(np.arange(tiles), routers)
    flits = np.zeros((routers + 1, routers + 1))
    flits[np.ix_(which, which)] = objective.flits
    found = []
    for k, rng in enumerate(np.random.default_rng(seed).spawn(restarts)):
        result = quadratic_assignment(
            flits,
            objective.cost[np.ix_(place, place)],
            method="faq",
            options={
                "partial_match": np.array([[routers, routers]]),
                "P0": "randomized" if k else "barycenter",
                "rng": rng,
            },
        )
        found.append(place[result.col_ind[which]])
    return min(found, key=objective)
