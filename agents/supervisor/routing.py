"""
What every router shares: checked contexts in, routes out.

Ties go to the lowest arm, which asks the fewest juniors (`agents.messages.ROUTES` is sorted by
size), so a choice never depends on anything but the scores. It knows no reward and no learner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.messages import ROUTES, Route
from agents.protocols import FloatArray
from config.errors import DataError

CONTEXT_SIZE = 16
ARMS = len(ROUTES)


def check_contexts(contexts: FloatArray, symbols: Sequence[str]) -> FloatArray:
    """
    Return the contexts as float64.

    Shapes: contexts (N, 16), symbols N -> (N, 16).
    Raises DataError on another shape or a number that is not finite.
    """
    checked = np.asarray(contexts, dtype=np.float64)
    if checked.shape != (len(symbols), CONTEXT_SIZE):
        raise DataError(
            f"expected contexts of shape ({len(symbols)}, {CONTEXT_SIZE}), was {checked.shape}"
        )
    if not np.isfinite(checked).all():
        bad = symbols[int(np.argmin(np.isfinite(checked).all(axis=1)))]
        raise DataError(f"expected finite routing contexts, was NaN or infinite for {bad}")
    return checked


def check_feedback(contexts: FloatArray, actions: Sequence[int], rewards: Sequence[float]) -> None:
    """
    Refuse feedback that no route could have had.

    Shapes: contexts (N, 16), actions and rewards N.
    Raises DataError naming what was wrong.
    """
    if contexts.ndim != 2 or contexts.shape[1] != CONTEXT_SIZE:
        raise DataError(f"expected contexts of shape (N, {CONTEXT_SIZE}), was {contexts.shape}")
    if not len(contexts) == len(actions) == len(rewards):
        raise DataError(
            "expected as many actions and rewards as contexts, "
            f"was {len(contexts)}, {len(actions)} and {len(rewards)}"
        )
    if not np.isfinite(contexts).all() or not np.isfinite(rewards).all():
        raise DataError("expected finite contexts and rewards, was NaN or infinite")
    for action in actions:
        if not 0 <= action < ARMS:
            raise DataError(f"expected an action in 0..{ARMS - 1}, was {action}")


def make_routes(
    contexts: FloatArray,
    symbols: Sequence[str],
    scores: FloatArray,
    arms: Sequence[int] | None = None,
    propensity: float = 1.0,
) -> list[Route]:
    """
    Return one route an instrument: the given arm, or else the best score's.

    Shapes: contexts (N, 16), scores (N, 7), arms N.
    """
    chosen = [int(a) for a in np.argmax(scores, axis=1)] if arms is None else list(arms)
    return [
        Route(
            symbol=symbol,
            arm=arm,
            context=tuple(context),
            scores=tuple(row),
            propensity=propensity,
        )
        for symbol, arm, context, row in zip(
            symbols, chosen, contexts.tolist(), scores.tolist(), strict=True
        )
    ]
