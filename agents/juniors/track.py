"""
Keeps what the juniors' closed opinions came to: hits and rank information coefficients (IC).

The rank IC of one decision is Spearman's correlation, over the instruments that a junior scored
in it, between its scores and the returns that followed. It is taken within a decision, so that
the market's own move - the equilibrium that a view is to beat - drops out; correlating one
instrument with itself through time instead would mark a score that follows past returns down on
a random walk (Stambaugh 1999). A decision that scored one instrument, or gave all the same score,
says nothing of rank. Decisions are averaged, each weighed by its independent outcomes,
min(n - 1, BREADTH) / h for n instruments over h sessions: a ranking loses the mean, many
instruments share sectors and styles, and decisions that overlap share all but one of their
sessions. Every decision counts as if decisions were daily, the cautious side. This file knows no
prior and no price.

Source: Grinold and Kahn 2000, "Active Portfolio Management", ch. 10, for the IC.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from math import sqrt

import msgspec
import numpy as np

from agents.arrays import FloatArray
from agents.messages import HORIZON_SESSIONS, JUNIORS, Horizon, JuniorName, TrackRecord
from agents.protocols import Feedback
from config.errors import ConfigError
from config.files.json_text import decode_json

LENGTH = 1_000  # closed opinions that a junior's hit rate remembers
# how many independent bets one decision makes at most: over 115 US stocks 2017-2019 the technical
# junior's daily rank ICs had a variance of 1/34 about their mean
BREADTH = 30


class _Ranked(msgspec.Struct, forbid_unknown_fields=True):
    """A junior's rank ICs summed, each times its independent outcomes, and those outcomes."""

    total: float = 0.0
    outcomes: float = 0.0


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot keeps; one from before there were ranks has none."""

    learned_until: int
    hits: dict[JuniorName, list[bool]]
    ranked: dict[JuniorName, _Ranked] = {}


class Track:
    """The records of all juniors."""

    def __init__(self) -> None:
        self._hits: dict[JuniorName, deque[bool]] = {j: deque(maxlen=LENGTH) for j in JUNIORS}
        self._ranked: dict[JuniorName, _Ranked] = {j: _Ranked() for j in JUNIORS}

    def records(self) -> tuple[TrackRecord, ...]:
        """Return each junior's record so far."""
        return tuple(
            TrackRecord(
                junior=junior,
                hits=sum(hits),
                calls=len(hits),
                rank_ic=_mean(self._ranked[junior]),
                outcomes=self._ranked[junior].outcomes,
            )
            for junior, hits in self._hits.items()
        )

    def recall(self, junior: JuniorName, hits: Sequence[bool]) -> None:
        """Count closed calls of which no more is known than whether they hit, oldest first."""
        self._hits[junior].extend(hits)

    def observe(self, feedback: Sequence[Feedback]) -> None:
        """Count closed outcomes, all of a decision at once; a neutral opinion is no call."""
        decisions: defaultdict[str, list[Feedback]] = defaultdict(list)
        for item in feedback:
            decisions[item.outcome.decision_id].append(item)
            move = item.outcome.instrument_return
            for opinion in item.opinions:
                if opinion.score != 0 and move != 0:
                    self._hits[opinion.junior].append((opinion.score > 0) == (move > 0))
        for closed in decisions.values():
            self._rank(closed)

    def _rank(self, closed: Sequence[Feedback]) -> None:
        pairs: defaultdict[JuniorName, list[tuple[float, float]]] = defaultdict(list)
        for item in closed:
            for opinion in item.opinions:
                pairs[opinion.junior].append((opinion.score, item.outcome.instrument_return))
        for junior, scored in pairs.items():
            scores, moves = np.array(scored).T
            ic = rank_correlation(scores, moves)
            if ic is not None:
                outcomes = independent_outcomes(len(scored), closed[0].outcome.horizon)
                self._ranked[junior].total += ic * outcomes
                self._ranked[junior].outcomes += outcomes

    def encode(self, learned_until: int) -> bytes:
        """Return the records as stored, beside the stamp that its owner learned until."""
        hits = {name: list(kept) for name, kept in self._hits.items()}
        return msgspec.json.encode(_Kept(learned_until, hits, self._ranked))

    @classmethod
    def decode(cls, stored: bytes, where: str) -> tuple[Track, int]:
        """
        Return what `encode` stored: the records and the stamp.

        Raises ConfigError, naming `where`, for what is nothing of the kind.
        """
        kept = decode_json(stored, _Kept, f"track records in {where}")
        for name, ranked in kept.ranked.items():
            if not abs(ranked.total) <= ranked.outcomes * (1.0 + 1e-9):
                raise ConfigError(
                    f"expected a rank IC of -1..1 for {name} in {where}, "
                    f"was {ranked.total} over {ranked.outcomes} outcomes"
                )
        track = cls()
        if kept.hits.keys() != track._hits.keys():
            raise ConfigError(
                f"expected {', '.join(track._hits)} in {where}, was {', '.join(kept.hits)}"
            )
        for name, hits in kept.hits.items():
            track._hits[name].extend(hits)
        track._ranked |= kept.ranked
        return track, kept.learned_until


def independent_outcomes(instruments: int, horizon: Horizon) -> float:
    """Return how many independent outcomes a decision's ranking counts for; see the module."""
    return min(instruments - 1, BREADTH) / HORIZON_SESSIONS[horizon]


def rank_correlation(x: FloatArray, y: FloatArray) -> float | None:
    """
    Return Spearman's correlation, ties at their mean rank; None where either is all one value.

    Shapes: x, y (N,) -> -1..1.
    """
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0.0 else None


def _ranks(values: FloatArray) -> FloatArray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - 0.5 * (count - 1.0))[place], dtype=np.float64)


def _mean(ranked: _Ranked) -> float:
    return ranked.total / ranked.outcomes if ranked.outcomes else 0.0
