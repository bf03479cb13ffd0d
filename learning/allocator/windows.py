"""
Which sessions of a book train, validate and test, and where episodes start.

A window's sessions are those at which a decision may be taken; the decision's outcome is the
session after it, so no window holds a market's last session. Real markets are split by days with
a gap of purge and embargo before each later part; simulated ones by market, none in two parts.
It knows stamps and counts, no prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.allocator import EpisodeSettings, SplitSettings

type IntArray = NDArray[np.int64]


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
    The windows of each part; `learned_from` and `learned_until` are the stamps that training saw.

    `learned_until` is the close of the session after the last training decision, its outcome.
    """

    train: tuple[Window, ...]
    validation: tuple[Window, ...]
    test: tuple[Window, ...]
    learned_from: int
    learned_until: int


def split_by_time(ts: IntArray, settings: SplitSettings, *, warm_up: int) -> Split:
    """
    Return the parts of one market, shapes: ts (T,), its closing stamps.

    The first `warm_up` sessions are in no part. Raises DataError where a part is empty.
    """
    raise NotImplementedError


def split_by_market(
    ts: IntArray, settings: SplitSettings, *, warm_up: int, measured_from: int
) -> Split:
    """
    Return the parts of M markets, shapes: ts (M, T): the last ones test, those before validate.

    Training windows start at `warm_up`, the others at `measured_from`, from where the oracles
    are measured too. Raises DataError where a part is empty.
    """
    raise NotImplementedError


class EpisodeSampler:
    """
    Draws starts of episodes, every start with room in its window alike.

    `sessions` is the length of every episode: the settings', or the shortest window's. Raises
    DataError where that is below `min_sessions`.
    """

    def __init__(self, windows: Sequence[Window], settings: EpisodeSettings) -> None:
        self.windows = tuple(windows)
        self.sessions = 0
        raise NotImplementedError

    def draw(self, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return markets and first sessions, each (count,)."""
        raise NotImplementedError
