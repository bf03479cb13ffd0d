"""
Walk-forward: what decides in a window has learned on that window's own past only.

Windows roll over the sessions: train, leave a gap, test, move on by one test. The gap is `purge`
plus `embargo` sessions. The purge keeps labels whose horizon reaches into a test out of its
training, so it is at least the horizon. The embargo holds a test's newest sessions back from the
training that follows it, since they share news, moving averages and volatility with the test
that comes next. Tests touch and never overlap, so that one book is traded over all of them, in a
single run in which the mind is exchanged at each window's start. Inside a test the mind goes on
learning from outcomes as they close, as it would live.

Source: López de Prado 2018, "Advances in Financial Machine Learning", ch. 7. Departure: there the
embargo follows a test inside a training set that surrounds it; here training never follows its
own test, so the embargo widens the gap before the next one.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.arrays import Panel
from agents.messages import HORIZON_SESSIONS, Case, Decision, JuniorName, TrackRecord
from agents.protocols import Feedback, LearningMind, Mind, TrainedPolicy
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData, window
from backtest.plan import warmup_sessions
from config.errors import ConfigError
from config.settings import Settings


@dataclass(frozen=True)
class Window:
    """
    One split. Sessions that close in [start, end], both included, belong to a part.

    All four are closing stamps of sessions, UTC nanoseconds.
    """

    train_start_ns: int
    train_end_ns: int
    test_start_ns: int
    test_end_ns: int

    def __post_init__(self) -> None:
        order = (self.train_start_ns, self.train_end_ns, self.test_start_ns, self.test_end_ns)
        if not order[0] <= order[1] < order[2] <= order[3]:
            raise ConfigError(f"expected training that ends before its test, was {order}")


def rolling_windows(
    session_closes: Sequence[int], *, train: int, test: int, purge: int, embargo: int
) -> tuple[Window, ...]:
    """
    Return rolling windows over the sessions, oldest first; sizes are in sessions.

    Each trains on `train` sessions, leaves out `purge + embargo` and tests on the next `test`;
    the last test takes what is left. Raises ConfigError where a part would be empty, would
    overlap another, or the stamps do not ascend.
    """
    for name, value, least in (
        ("train", train, 1),
        ("test", test, 1),
        ("purge", purge, 0),
        ("embargo", embargo, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"expected {name} of at least {least} sessions, was {value!r}")
    closes = np.asarray(session_closes, dtype=np.int64)
    if closes.ndim != 1 or (np.diff(closes) <= 0).any():
        raise ConfigError("expected session closes that ascend, was a list that does not")
    needed = train + purge + embargo + 1
    if len(closes) < needed:
        raise ConfigError(
            f"expected at least {needed} sessions (train {train} + purge {purge} + "
            f"embargo {embargo} + 1 to test), was {len(closes)}"
        )
    from skfolio.model_selection import WalkForward

    splitter = WalkForward(
        train_size=train, test_size=test, purged_size=purge + embargo, reduce_test=True
    )
    return tuple(
        Window(*(int(closes[i]) for i in (past[0], past[-1], future[0], future[-1])))
        for past, future in splitter.split(closes[:, None])
    )


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
    return rolling_windows(
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
    def language_models(self) -> Mapping[str, bool]:
        """The roles that a language model speaks for; the same in every window."""
        return self.current.language_models

    @property
    def own_juniors(self) -> dict[JuniorName, str]:
        """The models of the juniors from elsewhere; the same in every window."""
        return self.current.own_juniors

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
