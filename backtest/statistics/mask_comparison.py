"""
Masked against unmasked: how much of an edge is the model's memory of names and dates.

Both runs trade the same sessions, so their excess returns are compared session by session, in
the same resampled blocks. An edge that exists only without masking is memory, not judgement.
"""

from __future__ import annotations

import msgspec
import numpy as np

from agents.messages import Decision
from backtest.results import RunResult
from backtest.statistics.book_figures import series_of
from backtest.statistics.differences import Difference, paired_difference
from config.errors import DataError


class MaskingCounts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What differs inside two runs, masked and unmasked.

    `decisions_differ` counts decisions with other target weights. `opinions_compared` are those
    that both runs have of one junior, symbol and stamp; `opinion_signs_differ` counts where one
    is bullish and the other is not; `opinions_in_one` were abstentions in the other run.
    """

    decisions_compared: int
    decisions_differ: int
    opinions_compared: int
    opinion_signs_differ: int
    opinions_in_one: int


class Masking(msgspec.Struct, frozen=True, kw_only=True):
    """The masked run less the unmasked one."""

    masked_run: str
    unmasked_run: str
    sessions: int
    figures: Difference
    counts: MaskingCounts


def compare_masking(masked: RunResult, unmasked: RunResult, seed: int) -> Masking:
    """
    Return the paired difference of two runs over the same sessions, and what differs inside.

    The intervals are of 95%, from a stationary bootstrap of the pairs.
    Raises DataError if the runs are not of the same sessions.
    """
    if not np.array_equal(masked.book.ts, unmasked.book.ts):
        raise DataError(
            f"expected a masked and an unmasked run of the same sessions, was "
            f"{len(masked.book.ts)} and {len(unmasked.book.ts)} with stamps of their own"
        )
    return Masking(
        masked_run=masked.run_id,
        unmasked_run=unmasked.run_id,
        sessions=len(masked.book.ts) - 1,
        figures=paired_difference(
            series_of(masked.book, masked.risk_free),
            series_of(unmasked.book, unmasked.risk_free),
            year=masked.sessions_per_year,
            seed=seed,
        ),
        counts=_counts(masked.decisions, unmasked.decisions),
    )


def _counts(masked: tuple[Decision, ...], unmasked: tuple[Decision, ...]) -> MaskingCounts:
    with_, without = ({d.ts_event: d for d in side} for side in (masked, unmasked))
    shared = with_.keys() & without.keys()
    differ = sum(with_[t].allocation.weights != without[t].allocation.weights for t in shared)
    ours, theirs = _scores(masked), _scores(unmasked)
    both = ours.keys() & theirs.keys()
    return MaskingCounts(
        decisions_compared=len(shared),
        decisions_differ=differ,
        opinions_compared=len(both),
        opinion_signs_differ=sum((ours[k] > 0) != (theirs[k] > 0) for k in both),
        opinions_in_one=len(ours.keys() ^ theirs.keys()),
    )


def _scores(decisions: tuple[Decision, ...]) -> dict[tuple[int, str, str], float]:
    return {(d.ts_event, o.junior, o.symbol): o.score for d in decisions for o in d.opinions}
