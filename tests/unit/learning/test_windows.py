"""What trains never meets what validates or tests, and episodes start where there is room."""

import msgspec
import numpy as np
import pytest

from backtest.market.sessions import DAY_NS, session_day
from config.allocator import EpisodeSettings, SplitSettings
from config.errors import DataError
from learning.datasets.windows import EpisodeSampler, Window, split_by_market, split_by_time

FIRST = np.datetime64("2015-01-01", "D").astype(int)
EPISODE = EpisodeSettings(sessions=200, min_sessions=50, warm_up=30)
SPLIT = SplitSettings(
    train_until="2016-12-31",
    validation_until="2017-12-31",
    test_until="2018-12-31",
    purge_sessions=20,
    embargo_sessions=5,
)


def daily(sessions: int) -> np.ndarray:
    return (FIRST + np.arange(sessions, dtype=np.int64)) * DAY_NS + 75_600_000_000_000


def days_of(window: Window, ts: np.ndarray) -> tuple[str, str]:
    days = session_day(ts[[window.start, window.stop - 1]])
    return str(np.datetime64(int(days[0]), "D")), str(np.datetime64(int(days[1]), "D"))


def test_a_gap_of_purge_and_embargo_lies_before_each_later_part():
    ts = daily(2_000)
    parts = split_by_time(ts, SPLIT, EPISODE)
    (train,), (validation,), (test,) = parts.train, parts.validation, parts.test
    assert validation.start - train.stop == 25
    assert test.start - validation.stop == 25
    assert days_of(train, ts) == ("2015-01-31", "2016-12-06")
    assert days_of(validation, ts) == ("2017-01-01", "2017-12-06")
    assert days_of(test, ts) == ("2018-01-01", "2018-12-31")


def test_the_stamps_that_training_saw_hold_the_last_outcome():
    ts = daily(2_000)
    parts = split_by_time(ts, SPLIT, EPISODE)
    assert parts.learned_from == ts[parts.train[0].start]
    assert parts.learned_until == ts[parts.validation[0].stop]  # it chooses the checkpoint
    assert parts.learned_until < ts[parts.test[0].start - 23]


def test_training_may_start_later_so_that_earlier_years_are_warm_up():
    later = msgspec.structs.replace(SPLIT, train_from="2016-01-01")
    ts = daily(2_000)
    assert days_of(split_by_time(ts, later, EPISODE).train[0], ts)[0] == "2016-01-01"


def test_no_decision_is_without_its_outcome():
    ts = daily(1_300)
    open_ended = msgspec.structs.replace(SPLIT, test_until="")
    assert split_by_time(ts, open_ended, EPISODE).test[0].stop == 1_299


def test_a_market_too_short_for_an_episode_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^expected at least 50 sessions to test on, .*was 4 of"):
        split_by_time(daily(1_101), SPLIT, EPISODE)
    with pytest.raises(DataError, match="sessions to train on") as raised:
        split_by_time(daily(60), SPLIT, EPISODE)
    assert "\n" not in str(raised.value)


def test_no_simulated_market_is_in_two_parts():
    ts = np.tile(daily(600), (8, 1))
    parts = split_by_market(ts, SPLIT, EPISODE, measured_from=251)
    markets = [[w.market for w in part] for part in (parts.train, parts.validation, parts.test)]
    assert markets == [[0, 1, 2, 3, 4], [5], [6, 7]]
    assert {(w.start, w.stop) for w in parts.train} == {(30, 599)}
    assert {(w.start, w.stop) for w in parts.validation + parts.test} == {(251, 599)}


def test_a_share_of_nothing_leaves_its_part_empty():
    only = msgspec.structs.replace(SPLIT, validation_share=0.0, test_share=0.0)
    parts = split_by_market(np.tile(daily(600), (2, 1)), only, EPISODE, measured_from=251)
    assert [w.market for w in parts.train] == [0, 1]
    assert parts.validation == parts.test == ()


def test_too_few_or_too_short_simulated_markets_are_refused():
    with pytest.raises(DataError, match="expected a market to train on beside 1 to validate and"):
        split_by_market(np.tile(daily(600), (2, 1)), SPLIT, EPISODE, measured_from=251)
    with pytest.raises(DataError, match="expected at least 50 sessions a market"):
        split_by_market(np.tile(daily(301), (8, 1)), SPLIT, EPISODE, measured_from=251)


def test_every_start_with_room_is_drawn_and_no_other():
    sampler = EpisodeSampler([Window(0, 10, 215), Window(3, 40, 242)], EPISODE)
    assert sampler.sessions == 200
    market, session = sampler.draw(4_000, np.random.default_rng(0))
    drawn = sorted(set(zip(market.tolist(), session.tolist(), strict=True)))
    assert drawn == [(0, s) for s in range(10, 16)] + [(3, s) for s in range(40, 43)]
    counts = np.unique(np.stack([market, session]), axis=1, return_counts=True)[1]
    assert counts.min() > 0.8 * counts.mean()


def test_the_same_generator_draws_the_same_starts():
    sampler = EpisodeSampler([Window(0, 0, 900), Window(1, 0, 900)], EPISODE)
    one, two = (sampler.draw(50, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_an_episode_is_as_long_as_the_shortest_window_but_no_shorter_than_configured():
    assert EpisodeSampler([Window(0, 0, 300), Window(1, 0, 120)], EPISODE).sessions == 120
    with pytest.raises(DataError, match=r"windows of at least 50 sessions .*, was 49"):
        EpisodeSampler([Window(0, 0, 300), Window(1, 0, 49)], EPISODE)
    strict = EpisodeSettings(sessions=200, min_sessions=200)
    with pytest.raises(DataError, match="windows of at least 200 sessions"):
        EpisodeSampler([Window(0, 0, 199)], strict)
    with pytest.raises(DataError, match="was 0"):
        EpisodeSampler([], EPISODE)


def test_episodes_shorter_than_the_minimum_are_allowed_where_they_are_asked_for():
    asked = EpisodeSettings(sessions=20, min_sessions=100)
    assert EpisodeSampler([Window(0, 0, 30)], asked).sessions == 20
