"""
Which sessions of a dataset train, validate and test, and where episodes start.

A window's sessions are those at which a decision may be taken; the decision's outcome is the
session after it, so no window holds a market's last session. Real markets are split by days with
a gap of purge and embargo before each later part; simulated ones by market, none in two parts.
It knows stamps and counts, no prices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.arrays import IntArray
from backtest.market.sessions import day_text, parse_day, session_day
from config.allocator import EpisodeSettings, SplitSettings
from config.errors import DataError


@dataclass(frozen=True)
class Window:
    """Sessions [start, stop) of one market, at which decisions may be taken."""

    market: int
    start: int
    stop: int

    @property
    def sessions(self) -> int:
        """How many decisions it holds."""
        return self.stop - self.start


@dataclass(frozen=True)
class Split:
    """
    The windows of each part, and what training saw of the world.

    `learned_from` is the close of the first training decision. `learned_until` is that of the
    session after the last validated one, its outcome: validation chooses the checkpoint, so it
    is learned from. UTC nanoseconds.
    """

    train: tuple[Window, ...]
    validation: tuple[Window, ...]
    test: tuple[Window, ...]
    learned_from: int
    learned_until: int


def split_by_time(ts: IntArray, settings: SplitSettings, episode: EpisodeSettings) -> Split:
    """
    Return the parts of one market; shapes: ts (T,), its closing stamps.

    Each part starts at its first day, training not before `warm_up` sessions, and ends the gap
    of purge and embargo before the next part; decisions whose outcome the market does not hold
    are in none. Raises DataError where a part is shorter than an episode may be.
    """
    days = session_day(ts)

    def after(day: str, name: str) -> int:
        if not day:
            return len(days)
        return int(np.searchsorted(days, parse_day(day, name), side="right"))

    begin = (
        int(np.searchsorted(days, parse_day(settings.train_from, "train_from")))
        if settings.train_from
        else 0
    )
    ends = [
        after(settings.train_until, "train_until"),
        after(settings.validation_until, "validation_until"),
        min(after(settings.test_until, "test_until"), len(days) - 1),
    ]
    gap = settings.purge_sessions + settings.embargo_sessions
    starts = [max(begin, episode.warm_up), *ends[:2]]
    stops = [min(ends[0] - gap, len(days) - 1), min(ends[1] - gap, len(days) - 1), ends[2]]
    windows = [Window(0, a, b) for a, b in zip(starts, stops, strict=True)]
    for name, window in zip(("train", "validate", "test"), windows, strict=True):
        if window.sessions < episode.shortest:
            raise DataError(
                f"expected at least {episode.shortest} sessions to {name} on, beyond a "
                f"warm-up of {episode.warm_up} and a gap of {gap}, was {max(window.sessions, 0)} "
                f"of {len(days)} from {day_text(days[0])} to {day_text(days[-1])}"
            )
    train, validation, test = ((w,) for w in windows)
    return _split(ts[None], train, validation, test)


def market_counts(count: int, settings: SplitSettings) -> tuple[int, int, int]:
    """
    Return how many of M markets train, validate and test; they do so in this order.

    A share of 0 leaves its part empty, any other gives it a market at least, so that less than
    one may be left to train on.
    """
    test, validation = (
        max(1, round(share * count)) if share else 0
        for share in (settings.test_share, settings.validation_share)
    )
    return count - test - validation, validation, test


def split_by_market(
    ts: IntArray, settings: SplitSettings, episode: EpisodeSettings, *, measured_from: int
) -> Split:
    """
    Return the parts of M markets: the last ones test, those before them validate.

    Training windows start after `warm_up` sessions, the others at `measured_from` if that is
    later: from where the oracles are measured. `market_counts` says how many are in each part.
    Shapes: ts (M, T), closing stamps. Raises DataError where no market is left to train on, or
    markets are shorter than an episode may be.
    """
    count, sessions = ts.shape
    train, validation, test = market_counts(count, settings)
    if train < 1:
        raise DataError(
            f"expected a market to train on beside {validation} to validate and {test} to test, "
            f"was {count} in all"
        )
    measured = max(episode.warm_up, measured_from)
    first = measured if train < count else episode.warm_up
    if sessions - 1 - first < episode.shortest:
        raise DataError(
            f"expected at least {episode.shortest} sessions a market after the first {first} "
            f"and one more, was {sessions} in all"
        )
    own = [
        Window(k, episode.warm_up if k < train else measured, sessions - 1) for k in range(count)
    ]
    return _split(
        ts,
        tuple(own[:train]),
        tuple(own[train : train + validation]),
        tuple(own[train + validation :]),
    )


class EpisodeSampler:
    """
    Draws starts of episodes, every start with room in its window alike.

    `sessions` is the length of every episode, one for all so that a batch can go in lockstep:
    the settings', or the shortest window's. Raises DataError where that is below its `shortest`.
    """

    def __init__(self, windows: Sequence[Window], settings: EpisodeSettings) -> None:
        self.windows = tuple(windows)
        shortest = min((w.sessions for w in self.windows), default=0)
        self.sessions = min(settings.sessions, shortest)
        if self.sessions < settings.shortest:
            raise DataError(
                f"expected windows of at least {settings.shortest} sessions for an episode, "
                f"was {shortest}"
            )
        self._markets = np.array([w.market for w in self.windows], dtype=np.int64)
        self._starts = np.array([w.start for w in self.windows], dtype=np.int64)
        self._ends = np.cumsum([w.sessions - self.sessions + 1 for w in self.windows])

    def draw(self, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return markets and first deciding sessions of `count` episodes, each (count,)."""
        at = rng.integers(0, self._ends[-1], size=count)
        which = np.searchsorted(self._ends, at, side="right")
        before = np.concatenate([[0], self._ends])[which]
        return self._markets[which], self._starts[which] + at - before


def _split(
    ts: IntArray,
    train: tuple[Window, ...],
    validation: tuple[Window, ...],
    test: tuple[Window, ...],
) -> Split:
    return Split(
        train=train,
        validation=validation,
        test=test,
        learned_from=min(int(ts[w.market, w.start]) for w in train),
        learned_until=max(int(ts[w.market, w.stop]) for w in (*train, *validation)),
    )
