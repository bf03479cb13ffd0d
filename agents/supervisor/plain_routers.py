"""
Routers that learn nothing: one draws a route at random, one asks every junior with evidence.

A learner must beat both; the share of regret is measured from uniform routing.
"""

from collections.abc import Sequence

import numpy as np

from agents.arrays import BoolArray, FloatArray
from agents.messages import Route
from agents.protocols import Supervisor
from agents.supervisor.routing import ASKED, check_contexts, make_routes, open_arms


class UniformRouter(Supervisor):
    """Draws each route that may be taken with equal chance: logs with full support."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def select(
        self, contexts: FloatArray, symbols: Sequence[str], evidence: BoolArray
    ) -> list[Route]:
        """
        Return routes with equal scores, propensity one over the number that may be taken.

        Shapes: contexts (N, 16), evidence (N, 3).
        """
        contexts = check_contexts(contexts, symbols)
        may = open_arms(evidence, symbols)
        count = np.maximum(may.sum(axis=1), 1)
        drawn = self._generator.integers(0, count)  # which of those that may be taken
        arms = np.argmax(np.cumsum(may, axis=1) > drawn[:, None], axis=1)
        return make_routes(contexts, symbols, np.zeros(may.shape), may, arms, 1.0 / count)


class AlwaysAll(Supervisor):
    """Asks every junior that has evidence about every instrument."""

    def select(
        self, contexts: FloatArray, symbols: Sequence[str], evidence: BoolArray
    ) -> list[Route]:
        """Return the widest routes; shapes: contexts (N, 16), evidence (N, 3)."""
        contexts = check_contexts(contexts, symbols)
        may = open_arms(evidence, symbols)
        width = np.tile(ASKED.mean(axis=1), (len(symbols), 1))
        return make_routes(contexts, symbols, width, may)
