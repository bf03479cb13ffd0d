"""What the supervisor is told of a route: what it earned, less all that asking cost."""

import msgspec
import pytest

from agents.messages import Abstention, Opinion, Outcome
from agents.supervisor.reward import route_reward, route_use
from config.settings import SupervisorSettings

FREE = SupervisorSettings(junior_price=0.0, token_price=0.0, second_price=0.0)


def outcome(arm: int = 3, conviction: float = 0.5, **changes: float) -> Outcome:
    facts = {
        "instrument_return": 0.06,
        "realised": 0.05,
        "volatility": 0.02,
        "max_drawdown": 0.0,
        "benchmark_return": 0.02,
        "group_return": 0.0,
    } | changes
    return Outcome(
        decision_id="d",
        symbol="A",
        ts_event=1,
        ts_init=1,
        horizon="medium",
        arm=arm,
        conviction=conviction,
        leave_one_out={},
        **facts,
    )


def opinion(tokens: int, seconds: float) -> Opinion:
    return Opinion(
        opinion_id="o",
        junior="news",
        symbol="A",
        score=1.0,
        confidence=1.0,
        evidence=(),
        rationale="",
        model="m",
        tokens=tokens,
        latency_ns=round(seconds * 1e9),
    )


def silence(tokens: int, seconds: float) -> Abstention:
    return Abstention(
        junior="technical",
        symbol="A",
        reason="timeout",
        model="m",
        tokens=tokens,
        latency_ns=round(seconds * 1e9),
    )


def test_a_route_earns_conviction_times_the_return_net_of_the_market_in_volatilities() -> None:
    assert route_reward(outcome(), 0, 0.0, FREE) == pytest.approx(0.5 * 0.04 / 0.02)
    assert route_reward(outcome(conviction=-0.5), 0, 0.0, FREE) == pytest.approx(-1.0)


def test_one_jump_is_clipped_and_a_still_market_does_not_divide_by_nothing() -> None:
    assert route_reward(outcome(instrument_return=9.0), 0, 0.0, FREE) == pytest.approx(1.5)
    still = outcome(instrument_return=0.021, volatility=0.0)
    assert route_reward(still, 0, 0.0, FREE) == pytest.approx(0.5 * 0.1)


def test_juniors_tokens_and_seconds_are_each_paid_at_their_price() -> None:
    free = route_reward(outcome(), 0, 0.0, FREE)
    for price, cost in (("junior_price", 2.0), ("token_price", 1.5), ("second_price", 4.0)):
        prices = msgspec.structs.replace(FREE, **{price: 1.0})
        assert route_reward(outcome(), 1_500, 4.0, prices) == pytest.approx(free - cost)


def test_juniors_asked_in_one_batch_take_the_time_of_the_slowest() -> None:
    assert route_use([opinion(100, 0.5), silence(40, 2.0)]) == (140, 2.0)
    assert route_use([]) == (0, 0.0)


def test_an_abstention_earns_nothing_and_still_costs() -> None:
    tokens, seconds = route_use([silence(1_000, 3.0)])
    prices = SupervisorSettings(junior_price=0.01, token_price=0.002, second_price=0.001)
    quiet = outcome(arm=1, conviction=0.0)
    assert route_reward(quiet, tokens, seconds, prices) == pytest.approx(-(0.01 + 0.002 + 0.003))
