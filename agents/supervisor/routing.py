"""
Shared by all routers: checks the contexts, and turns scores into routes.

A route that asks a junior without evidence in the case cannot be taken, and an instrument of
which no junior has evidence has no route. Ties go to the lowest arm, which asks the fewest
juniors (`agents.messages.ROUTES` is sorted by size), so a choice never depends on anything but
the scores and the evidence. It knows no reward and no learner.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray
from agents.messages import JUNIORS, ROUTES, Route
from config.errors import DataError

CONTEXT_SIZE = 16
ARMS = len(ROUTES)
ASKED = np.array([[name in route for name in JUNIORS] for route in ROUTES])  # (7, 3)


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


def open_arms(evidence: BoolArray, symbols: Sequence[str]) -> BoolArray:
    """
    Return the routes that ask only juniors with evidence; shapes: (N, 3) -> (N, 7).

    Raises DataError on another shape.
    """
    if evidence.shape != (len(symbols), len(JUNIORS)):
        raise DataError(
            f"expected evidence of shape ({len(symbols)}, {len(JUNIORS)}), was {evidence.shape}"
        )
    return np.asarray(~(ASKED & ~evidence[:, None, :]).any(axis=2))


def make_routes(
    contexts: FloatArray,
    symbols: Sequence[str],
    scores: FloatArray,
    may: BoolArray,
    arms: NDArray[np.int64] | None = None,
    propensities: FloatArray | None = None,
) -> list[Route]:
    """
    Return one route an instrument that has any: the given arm, or else the best score's.

    Shapes: contexts (N, 16), scores and `may` be taken (N, 7), arms and propensities (N,), the
    latter 1 where they are not given.
    """
    if arms is None:
        arms = np.argmax(np.where(may, scores, -np.inf), axis=1)
    if propensities is None:
        propensities = np.ones(len(symbols))
    rows = zip(
        symbols,
        arms.tolist(),
        contexts.tolist(),
        scores.tolist(),
        may.tolist(),
        propensities.tolist(),
        strict=True,
    )
    return [
        Route(
            symbol=symbol,
            arm=arm,
            context=tuple(context),
            scores=tuple(x if open_ else None for x, open_ in zip(row, which, strict=True)),
            propensity=propensity,
        )
        for symbol, arm, context, row, which, propensity in rows
        if any(which)
    ]
