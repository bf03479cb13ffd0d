"""
Tests whether a VaR can be believed: how often it was broken, and whether breaches cluster.

Kupiec's test asks for their number, Christoffersen's for their independence, and the test of
conditional coverage for both at once. p-values are of likelihood ratios under chi-squared.
Nothing here knows a book.

Sources: Kupiec 1995, "Techniques for Verifying the Accuracy of Risk Measurement Models";
Christoffersen 1998, "Evaluating Interval Forecasts".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, xlogy

from agents.arrays import BoolArray
from backtest.statistics.measures import Figure, Undefined

PROBABILITY = 0.01  # that a session loses more than its 99% VaR
NO_SESSION = Undefined("no session was held under a known VaR")
NO_BREACH = Undefined("no session lost more than its VaR, so none can follow another")


class PValues(NamedTuple):
    """The p-values of the three tests, by the names that reports give them."""

    kupiec_p: Figure
    christoffersen_independence_p: Figure
    christoffersen_coverage_p: Figure


@dataclass(frozen=True)
class Breaches:
    """
    Sessions held under a known VaR.

    `broken` (T,) tells which of them lost more. `follows` (T,) tells which come directly after
    the one before them in the array: a session that was left out between two breaks the chain.
    """

    broken: BoolArray
    follows: BoolArray

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return len(self.broken)

    @property
    def count(self) -> int:
        """How many of them lost more than their VaR."""
        return int(self.broken.sum())

    @property
    def coverage(self) -> Figure:
        """The share of sessions whose loss stayed within that day's own VaR."""
        return 1.0 - self.count / self.sessions if self.sessions else NO_SESSION

    def p_values(self) -> PValues:
        """Return the p-values of Kupiec's test and of Christoffersen's two."""
        ratio = proportion_ratio(self.sessions, self.count)
        chain = independence_ratio(transitions(self))
        if isinstance(ratio, Undefined) or isinstance(chain, Undefined):
            joint: Figure = ratio if isinstance(ratio, Undefined) else chain
        else:
            joint = _p(2, ratio + chain)
        return PValues(
            kupiec_p=kupiec(self.sessions, self.count),
            christoffersen_independence_p=chain if isinstance(chain, Undefined) else _p(1, chain),
            christoffersen_coverage_p=joint,
        )


def transitions(breaches: Breaches) -> tuple[int, int, int, int]:
    """
    Return n00, n01, n10, n11: how often a session of the first kind was followed by the second.

    Kind 0 kept its VaR, kind 1 broke it.
    """
    before, after = breaches.broken[:-1], breaches.broken[1:]
    chained = breaches.follows[1:]
    n = np.bincount((2 * before + after)[chained].astype(np.int64), minlength=4)
    return int(n[0]), int(n[1]), int(n[2]), int(n[3])


def proportion_ratio(sessions: int, breaches: int, probability: float = PROBABILITY) -> Figure:
    """Return Kupiec's likelihood ratio, of one degree of freedom."""
    if sessions < 1:
        return NO_SESSION
    kept = sessions - breaches
    seen = xlogy(breaches, breaches / sessions) + xlogy(kept, kept / sessions)
    meant = xlogy(breaches, probability) + xlogy(kept, 1.0 - probability)
    return max(0.0, 2.0 * float(seen - meant))


def independence_ratio(counts: tuple[int, int, int, int]) -> Figure:
    """Return Christoffersen's likelihood ratio of independence from n00, n01, n10, n11."""
    n00, n01, n10, n11 = counts
    if n01 + n11 == 0 or n10 + n11 == 0:
        return NO_BREACH
    after_kept, after_broken = n01 / max(1, n00 + n01), n11 / (n10 + n11)
    anyway = (n01 + n11) / (n00 + n01 + n10 + n11)
    apart = xlogy(n01, after_kept) + xlogy(n00, 1.0 - after_kept)
    apart += xlogy(n11, after_broken) + xlogy(n10, 1.0 - after_broken)
    together = xlogy(n01 + n11, anyway) + xlogy(n00 + n10, 1.0 - anyway)
    return max(0.0, 2.0 * float(apart - together))


def kupiec(sessions: int, breaches: int, probability: float = PROBABILITY) -> Figure:
    """
    Return the p-value of Kupiec's proportion-of-failures test of a VaR.

    A small one says that breaches came too often, or too seldom, for a VaR that is to be broken
    with `probability`. It is blind to breaches that cluster.
    """
    ratio = proportion_ratio(sessions, breaches, probability)
    return ratio if isinstance(ratio, Undefined) else _p(1, ratio)


def _p(degrees: int, ratio: float) -> float:
    return float(chdtrc(degrees, ratio))
