import json

import msgspec
import numpy as np
import pytest
from scipy.stats import spearmanr

from agents.juniors.track import BREADTH, Track, independent_outcomes, rank_correlation
from agents.messages import Opinion, Outcome, Route
from agents.protocols import Feedback
from config.errors import ConfigError


def feedback(decision, scores, moves, junior="news", horizon="medium"):
    """Return what closes with one decision: an opinion and a return for each instrument."""
    closed = []
    for i, (score, move) in enumerate(zip(scores, moves, strict=True)):
        symbol = f"S{i}"
        opinion = Opinion(
            opinion_id=f"{decision}{i}", junior=junior, symbol=symbol, score=score, confidence=0.5,
            evidence=(), rationale="", model="",
        )  # fmt: skip
        outcome = Outcome(
            decision_id=decision, symbol=symbol, ts_event=9, ts_init=9, horizon=horizon, arm=0,
            conviction=0.0, instrument_return=move, realised=0.0, volatility=0.0,
            max_drawdown=0.0, benchmark_return=0.0, group_return=0.0, leave_one_out={},
        )  # fmt: skip
        route = Route(symbol=symbol, arm=0, context=(), scores=())
        closed.append(Feedback(route, (opinion,), outcome, 0.0))
    return closed


def record(track, junior="news"):
    return next(r for r in track.records() if r.junior == junior)


def test_rank_correlation_is_spearmans_ties_included():
    rng = np.random.default_rng(2)
    for size in (2, 5, 40):
        x, y = rng.integers(0, 6, size).astype(float), rng.standard_normal(size)
        if len(set(x)) > 1:
            assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None
    assert rank_correlation(np.arange(1.0), np.arange(1.0)) is None


def test_the_markets_own_move_gives_no_junior_credit():
    track = Track()
    track.observe(
        feedback("d1", [1.0, 1.5, 2.0], [0.30, 0.20, 0.10])
    )  # all up, in the wrong order
    assert record(track).rank_ic == -1.0
    assert (record(track).hits, record(track).calls) == (3, 3)


def test_decisions_are_averaged_by_the_outcomes_that_each_is_worth():
    track = Track()
    track.observe(feedback("d1", [-1, 0, 1, 2], [-0.1, 0.0, 0.1, 0.2]))
    track.observe(feedback("d2", [1, -1], [-0.1, 0.1]))
    assert record(track).outcomes == pytest.approx(3 / 5 + 1 / 5)
    assert record(track).rank_ic == pytest.approx((3 * 1.0 - 1 * 1.0) / 4)
    assert record(track, "technical").outcomes == 0.0


def test_a_longer_horizon_and_a_wider_book_count_for_less_than_they_hold():
    assert independent_outcomes(9, "short") == 8.0
    assert independent_outcomes(9, "medium") == 8.0 / 5
    assert independent_outcomes(9, "long") == 8.0 / 20
    assert independent_outcomes(500, "short") == BREADTH


def test_one_instrument_and_one_score_for_all_say_nothing_of_rank():
    track = Track()
    track.observe(feedback("d1", [2.0], [0.1]))
    track.observe(feedback("d2", [1.0, 1.0, 1.0], [0.1, 0.2, 0.3]))
    assert (record(track).rank_ic, record(track).outcomes) == (0.0, 0.0)


def test_what_closes_in_one_session_and_what_is_told_at_once_count_alike():
    rng = np.random.default_rng(3)
    closed = [
        feedback(f"d{k}", rng.integers(-2, 3, 6).tolist(), rng.standard_normal(6).tolist())
        for k in range(40)
    ]
    one, all_at_once = Track(), Track()
    for decision in closed:
        one.observe(decision)
    all_at_once.observe([item for decision in closed for item in decision])
    assert one.encode(5) == all_at_once.encode(5)
    assert Track.decode(one.encode(5), "here")[0].records() == one.records()


def test_a_known_correlation_is_found():
    rng = np.random.default_rng(4)
    track = Track()
    for k in range(400):
        scores = rng.standard_normal(20)
        moves = 0.2 * scores + np.sqrt(1 - 0.2**2) * rng.standard_normal(20)
        clipped = np.clip(scores, -2, 2).tolist()
        track.observe(feedback(f"d{k}", clipped, moves.tolist(), horizon="short"))
    assert record(track).rank_ic == pytest.approx(0.19, abs=0.025)  # Pearson's 0.2, in ranks
    assert record(track).outcomes == 400 * 19


def test_a_snapshot_from_before_there_were_ranks_is_still_read():
    stored = json.loads(Track().encode(7))
    del stored["ranked"]
    stored["hits"]["news"] = [True, False]
    track, learned_until = Track.decode(msgspec.json.encode(stored), "here")
    assert learned_until == 7
    assert record(track).calls == 2
    assert record(track).outcomes == 0.0


def test_a_snapshot_that_cannot_be_is_refused_in_one_line():
    stored = json.loads(Track().encode(0))
    stored["ranked"]["news"] = {"total": 2.0, "outcomes": 1.0}
    with pytest.raises(ConfigError, match=r"expected a rank IC of -1\.\.1 for news in here"):
        Track.decode(msgspec.json.encode(stored), "here")
    with pytest.raises(ConfigError, match="expected track records in here"):
        Track.decode(b"{}", "here")
