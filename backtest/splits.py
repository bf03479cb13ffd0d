"""
Walk-forward splits in time: train, leave a gap, test, move on by one test.

The gap is `purge` plus `embargo` sessions. The purge keeps labels whose horizon reaches into a
test out of its training, so it is at least the horizon. The embargo holds a test's newest
sessions back from the training that follows it, since they share news, moving averages and
volatility with the test that comes next. Tests touch and never overlap, so a book traded over
all of them has no hole. It knows only closing stamps.

Source: López de Prado 2018, "Advances in Financial Machine Learning", ch. 7. Departure: there the
embargo follows a test inside a training set that surrounds it; here training never follows its
own test, so the embargo widens the gap before the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from config.errors import ConfigError


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


def walk_forward(
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
