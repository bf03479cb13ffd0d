"""The reward and the luck-adjusted advantage: pure functions of outcomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.messages import Outcome, Proposal
from config.errors import DataError
from learning.experience.advantage import attribute, junior_advantages
from learning.rewards.decision_reward import (
    ALWAYS_HOLD,
    decision_reward,
    drawdown_part,
    sharpe_part,
    token_cost,
)

small = st.floats(-0.5, 0.5)


def outcome(**changes) -> Outcome:
    fields = {
        "decision_id": "d",
        "symbol": "A",
        "ts_event": 1,
        "ts_init": 1,
        "horizon": "medium",
        "arm": 0,
        "conviction": 0.5,
        "instrument_return": 0.05,
        "realised": 0.044,
        "volatility": 0.02,
        "max_drawdown": 0.0,
        "benchmark_return": 0.02,
        "group_return": 0.03,
        "leave_one_out": {},
    }
    return Outcome(**(fields | changes))


def proposal(conviction=0.5, without=None, symbol="A") -> Proposal:
    return Proposal(
        symbol=symbol,
        action="BUY",
        conviction=conviction,
        horizon="medium",
        rationale="",
        cites=(),
        conviction_without=without or {},
    )


def test_doing_nothing_earns_about_point_six():
    assert pytest.approx(0.45 / 0.7) == ALWAYS_HOLD
    assert decision_reward((), 0, logic=0.5).value == pytest.approx(0.6)
    idle = outcome(conviction=0.0, realised=0.0)
    assert decision_reward([idle, idle], 0).value == pytest.approx(ALWAYS_HOLD)


def test_the_parts_follow_the_formula():
    assert sharpe_part(0.04, 0.02) == 1.0
    assert sharpe_part(0.02, 0.02) == 0.75
    assert sharpe_part(0.005, 0.0) == pytest.approx(0.625)  # the floor stands in for volatility
    assert sharpe_part(-0.9, 0.02) == 0.0
    assert drawdown_part(0.10) == 1.0
    assert drawdown_part(0.20) == pytest.approx(0.5)
    assert drawdown_part(0.50) == 0.0
    assert token_cost(500) == 0.0
    assert token_cost(520) == pytest.approx(0.2)


def test_logic_is_weighed_when_given_and_the_weights_renormalised_when_not():
    o = outcome(realised=0.04, max_drawdown=0.20)
    assert decision_reward([o], 0, logic=0.4).value == pytest.approx(0.5 + 0.12 + 0.1)
    assert decision_reward([o], 0).value == pytest.approx((0.5 + 0.1) / 0.7)


@given(small, st.floats(0, 0.2), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2000))
def test_no_judge_and_no_brevity_moves_the_outcome_part(realised, vol, mdd, logic, tokens):
    o = outcome(realised=realised, volatility=vol, max_drawdown=mdd)
    reward = decision_reward([o], tokens, logic)
    assert reward.outcome == decision_reward([o], 0).outcome
    assert 0.0 <= reward.outcome <= 1.0
    assert reward.value <= 1.0


def test_every_instrument_has_one_vote():
    good, bad = outcome(realised=0.04), outcome(symbol="B", realised=-0.04)
    assert decision_reward([good, bad], 0).sharpe == pytest.approx(0.5)


def test_a_mark_or_a_count_out_of_range_is_refused():
    with pytest.raises(DataError, match="expected a logic mark"):
        decision_reward([], 0, logic=1.5)
    with pytest.raises(DataError, match="expected tokens"):
        decision_reward([], -1)


@given(st.floats(-1, 1), small, small, small, st.floats(0, 0.01))
def test_the_attribution_sums_to_what_was_realised(conviction, own, group, market, costs):
    direction = (conviction > 0) - (conviction < 0)
    o = outcome(
        conviction=conviction,
        instrument_return=own,
        group_return=group,
        benchmark_return=market,
        realised=direction * own - costs,
    )
    a = attribute(o)
    assert a.market + a.sector + a.own - a.costs == pytest.approx(o.realised, abs=1e-12)
    assert a.costs == pytest.approx(costs, abs=1e-12)


def test_riding_the_sector_is_luck_and_beating_it_is_not():
    rode = outcome(instrument_return=0.03, realised=0.03)
    beat = outcome(instrument_return=0.05, realised=0.05)
    short = outcome(conviction=-0.5, instrument_return=0.01, realised=-0.01)
    assert attribute(rode).advantage == pytest.approx(0.0)
    assert attribute(beat).advantage == pytest.approx(0.02)
    assert attribute(short).advantage == pytest.approx(
        0.02
    )  # it lost, and lost less than its sector


def test_a_junior_is_paid_for_what_its_silence_would_have_changed():
    given_ = junior_advantages(outcome(), proposal(0.5, {"news": 0.1, "technical": 0.7}))
    assert given_ == pytest.approx({"news": 0.4 * 0.02, "technical": -0.2 * 0.02})


def test_a_still_instrument_in_a_rising_sector_still_marks_its_juniors():
    still = outcome(instrument_return=0.0, realised=0.0)
    assert junior_advantages(still, proposal(0.5, {"news": 0.1})) == pytest.approx(
        {"news": -0.012}
    )


def test_a_proposal_on_another_instrument_is_refused():
    with pytest.raises(DataError, match="expected a proposal on A"):
        junior_advantages(outcome(), proposal(symbol="B"))
