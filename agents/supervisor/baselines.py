"""
Routers that learn nothing: one that draws its route, one that always asks every junior.

They are what a learner must beat, and uniform routing is the zero of the regret share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.messages import Route
from agents.protocols import FloatArray
from agents.supervisor.routing import ARMS, check_contexts, make_routes


class UniformRouter:
    """Draws each route with probability 1/7: the logging policy with full support."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def select(self, contexts: FloatArray, symbols: Sequence[str]) -> list[Route]:
        """Shapes: contexts (N, 16) -> N routes with equal scores and propensity 1/7."""
        contexts = check_contexts(contexts, symbols)
        arms = self._generator.integers(0, ARMS, len(symbols)).tolist()
        return make_routes(contexts, symbols, np.zeros((len(symbols), ARMS)), arms, 1.0 / ARMS)

    def update(self, context: FloatArray, action: int, reward: float) -> None:
        """Learn nothing."""


class AlwaysAll:
    """Asks all three juniors about every instrument."""

    def select(self, contexts: FloatArray, symbols: Sequence[str]) -> list[Route]:
        """Shapes: contexts (N, 16) -> N routes of the last arm."""
        contexts = check_contexts(contexts, symbols)
        scores = np.zeros((len(symbols), ARMS))
        scores[:, -1] = 1.0
        return make_routes(contexts, symbols, scores)

    def update(self, context: FloatArray, action: int, reward: float) -> None:
        """Learn nothing."""
