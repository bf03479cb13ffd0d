"""
Walk-forward: what decides in a window has learned on the window's own past only.

The book is one, without a hole: a single run over all test windows, in which the mind is
exchanged at each window's start for one that `fit` returned. Splits are purged and embargoed
(`splits`), so that no outcome that a mind learned from reaches into its test; inside a test it
goes on learning from outcomes as they close, as it would live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.arrays import Panel
from agents.messages import HORIZON_SESSIONS, Case, Decision, TrackRecord
from agents.protocols import Feedback, LearningMind, Mind, TrainedPolicy
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData, window
from backtest.plan import warmup_sessions
from backtest.splits import Window, walk_forward
from config.errors import ConfigError
from config.settings import Settings


def windows_of(market: MarketData, settings: Settings, start_ns: int | None) -> tuple[Window, ...]:
    """
    Return the purged, embargoed windows of a market from `start_ns` on.

    Raises ConfigError where a window's outcomes would reach into its test.
    """
    walk = settings.walk_forward
    horizon = HORIZON_SESSIONS[settings.desk.horizon]
    if walk.purge < horizon:
        raise ConfigError(
            f"expected walk_forward.purge of at least the horizon's {horizon} sessions, "
            f"was {walk.purge}"
        )
    closes = [ts for ts in market.session_closes if start_ns is None or ts >= start_ns]
    return walk_forward(
        closes, train=walk.train, test=walk.test, purge=walk.purge, embargo=walk.embargo
    )


def fit(
    market: MarketData, settings: Settings, split: Window, make_mind: Callable[[], LearningMind]
) -> LearningMind:
    """Return a mind that has traded, and learned from, the window's training sessions only."""
    mind = make_mind()
    kept, decide_from = window(
        market, split.train_start_ns, warmup_sessions(settings), split.train_end_ns
    )
    run_book(BookSpec("training", kept, settings, decide_from), mind)
    return mind


class WalkForwardMind(Mind):
    """A mind for each window, oldest first, exchanged when a case enters the next one."""

    def __init__(self, windows: Sequence[Window], minds: Sequence[LearningMind]) -> None:
        self._windows = list(zip(windows, minds, strict=True))
        self.current = minds[0]
        self.name = self.current.name

    @property
    def models(self) -> dict[str, str]:
        """The model of each role; the same in every window."""
        return self.current.models

    @property
    def policies(self) -> tuple[TrainedPolicy, ...]:
        """The cards of the allocator's trained policies; the same in every window."""
        return self.current.policies

    @property
    def learned_until(self) -> int:
        """The newest outcome that the first window's mind learned from."""
        return self._windows[0][1].learned_until

    @property
    def digest(self) -> str:
        """The hash of every window's mind."""
        return hashlib.sha256("".join(m.digest for _, m in self._windows).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the state of the mind in force, the last one at the end of a run."""
        self.current.save(folder)

    def track(self) -> tuple[TrackRecord, ...]:
        """Return the track records of the mind in force."""
        return self.current.track()

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Return the decision of the mind whose window the case is in."""
        for split, mind in self._windows:
            if case.ts_init >= split.test_start_ns:
                self.current = mind
        return self.current.decide(case, panel, latency_ns=latency_ns, expires=expires)

    def observe(self, feedback: Sequence[Feedback]) -> None:
        """Let the mind in force count closed outcomes."""
        self.current.observe(feedback)

    def learn(self, feedback: Sequence[Feedback]) -> None:
        """Let the mind in force learn."""
        self.current.learn(feedback)
