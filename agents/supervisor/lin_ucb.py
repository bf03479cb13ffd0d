"""
LinUCB with disjoint arms: the linear baseline of the neural router.

Source: Li, Chu, Langford & Schapire 2010, Algorithm 1. Departures: a constant is added to the
context, so that an arm may have a level of its own; the inverse is kept by Sherman-Morrison
instead of being recomputed.
"""

from collections.abc import Sequence

import numpy as np

from agents.arrays import BoolArray, FloatArray
from agents.messages import Route
from agents.supervisor.precision import sherman_morrison
from agents.supervisor.routing import (
    ARMS,
    CONTEXT_SIZE,
    check_contexts,
    check_feedback,
    make_routes,
    open_arms,
)


class LinUCB:
    """Ridge regression of reward on context, one per arm, with an upper confidence bound."""

    def __init__(self, alpha: float = 0.2) -> None:
        size = CONTEXT_SIZE + 1
        self.alpha = alpha
        self._inverse = np.tile(np.eye(size), (ARMS, 1, 1))
        self._response = np.zeros((ARMS, size))

    def select(
        self, contexts: FloatArray, symbols: Sequence[str], evidence: BoolArray
    ) -> list[Route]:
        """Return routes by upper confidence bounds; shapes: contexts (N, 16), evidence (N, 3)."""
        contexts = check_contexts(contexts, symbols)
        may = open_arms(evidence, symbols)
        x = np.concatenate([contexts, np.ones((len(symbols), 1))], axis=1)
        theta = np.einsum("kij,kj->ki", self._inverse, self._response)
        variance = np.einsum("ni,kij,nj->nk", x, self._inverse, x)
        return make_routes(contexts, symbols, x @ theta.T + self.alpha * np.sqrt(variance), may)

    def update(self, context: FloatArray, action: int, reward: float) -> None:
        """Shapes: context (16,). Learn from one closed outcome."""
        check_feedback(np.asarray(context)[None], [action], [reward])
        x = np.append(np.asarray(context, dtype=np.float64), 1.0)
        sherman_morrison(self._inverse[action], x)
        self._response[action] += reward * x
