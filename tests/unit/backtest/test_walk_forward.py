import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.walk_forward import Window, rolling_windows
from config.errors import ConfigError

DAY = 86_400_000_000_000


def closes(n):
    return tuple(int(k) * DAY for k in np.cumsum(1 + np.arange(n) % 3))


def test_windows_of_a_case_worked_by_hand():
    windows = rolling_windows(range(10, 22), train=4, test=3, purge=1, embargo=1)
    assert windows == (
        Window(10, 13, 16, 18),
        Window(13, 16, 19, 21),
    )


def test_the_last_test_takes_what_is_left():
    windows = rolling_windows(range(10), train=4, test=4, purge=0, embargo=0)
    assert windows[-1] == Window(4, 7, 8, 9)


@given(
    n=st.integers(2, 300),
    train=st.integers(1, 60),
    test=st.integers(1, 40),
    purge=st.integers(0, 20),
    embargo=st.integers(0, 20),
)
@settings(max_examples=150, deadline=None)
def test_no_label_reaches_a_test_and_tests_cover_the_rest_once(n, train, test, purge, embargo):
    stamps = closes(n)
    if n <= train + purge + embargo:
        with pytest.raises(ConfigError):
            rolling_windows(stamps, train=train, test=test, purge=purge, embargo=embargo)
        return
    windows = rolling_windows(stamps, train=train, test=test, purge=purge, embargo=embargo)
    at = {t: k for k, t in enumerate(stamps)}
    tested = []
    for w in windows:
        first, last = at[w.train_start_ns], at[w.train_end_ns]
        begin, end = at[w.test_start_ns], at[w.test_end_ns]
        assert last - first + 1 == train
        # a label of `purge` sessions made on the last training day ends before the test
        assert last + purge < begin
        # what an earlier test held back stays out of this training
        assert last + purge + embargo == begin - 1
        tested += range(begin, end + 1)
    assert tested == list(range(train + purge + embargo, n))


@given(extra=st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_later_sessions_never_change_an_earlier_full_window(extra):
    sizes = {"train": 20, "test": 5, "purge": 2, "embargo": 1}
    short = rolling_windows(closes(48), **sizes)
    long = rolling_windows(closes(48 + extra), **sizes)
    assert long[: len(short)] == short


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": 0}, "train"),
        ({"test": 0}, "test"),
        ({"purge": -1}, "purge"),
        ({"embargo": -1}, "embargo"),
        ({"train": 2.0}, "train"),
        ({"train": 100}, "at least 103 sessions"),
    ],
)
def test_empty_or_overlapping_splits_are_refused(change, said):
    sizes = {"train": 10, "test": 5, "purge": 1, "embargo": 1} | change
    with pytest.raises(ConfigError, match=said):
        rolling_windows(closes(50), **sizes)


@pytest.mark.parametrize("stamps", [(1, 2, 2, 3), (3, 2, 1, 4), ()])
def test_closes_that_do_not_ascend_or_are_none_are_refused(stamps):
    with pytest.raises(ConfigError, match="expected"):
        rolling_windows(stamps, train=1, test=1, purge=0, embargo=0)


def test_a_window_that_overlaps_its_test_cannot_be_made():
    with pytest.raises(ConfigError, match="before its test"):
        Window(0, 5, 5, 9)
