"""The gate of one book: what it refuses, what it lets through, and what its verdicts say."""

import msgspec
import numpy as np
import pytest

from agents.gate.limits import LIMIT_NAMES
from agents.gate.rules import Holding, drifted
from agents.messages import Instrument
from config.settings import UNLIMITED, LimitSettings
from strategies.risk import Gate

EQUITY = 100_000.0
PRICE = np.array([100.0, 50.0])
EVERY, NONE = np.ones(2, bool), np.zeros(2, bool)
RETURNS = np.random.default_rng(0).normal(0, 0.01, (120, 2))


def pair(kind: str = "equity", *, shortable: bool = False) -> list[Instrument]:
    return [
        Instrument(symbol=s, venue="SIM", asset_class=kind, group=s, shortable=shortable)
        for s in ("AAA", "BBB")
    ]


def gate_of(kind: str = "equity", *, sessions: int = 1, shortable=False, **limits) -> Gate:
    """Return a gate that has lived some sessions at the same prices."""
    changed = {"min_history": 20, "max_volume_frac": 0.1} | limits
    gate = Gate(pair(kind, shortable=shortable), msgspec.structs.replace(UNLIMITED, **changed))
    for _ in range(sessions):
        close(gate)
    return gate


def close(gate: Gate, closes=PRICE, *, equity: float = EQUITY, volume: float = 1e6):
    """Let a session end; return the ages."""
    volumes = np.where(np.isfinite(closes), volume, np.nan)
    return gate.close_session(np.asarray(closes, float), volumes, RETURNS, equity)


def holding(*quantity: float, price=PRICE, equity: float = EQUITY) -> Holding:
    return Holding(np.array(quantity), np.asarray(price, float), np.ones(2), np.ones(2), equity)


def judge(gate: Gate, asked, book: Holding, movable=EVERY, forced=NONE):
    """Return the judgement and the names of the limits that cut."""
    judged = gate.judge(np.array(asked), book, movable, forced)
    return judged, [LIMIT_NAMES[c] for c in judged.cause]


def test_a_book_within_all_limits_is_let_through_in_whole_lots():
    judged, limits = judge(gate_of(), [0.1001, 0.2], holding(0, 0))
    assert judged.quantity.tolist() == [100.0, 400.0]
    assert judged.allowed.tolist() == [0.1, 0.2]
    assert limits == ["", ""]


@pytest.mark.parametrize("missed", [3, 4])
def test_nothing_is_bought_on_a_price_older_than_its_limit(missed):
    gate = gate_of(stale_sessions=3)
    for _ in range(missed):
        ages = close(gate, [100.0, np.nan])
    assert ages.tolist() == [0, missed]
    stale = missed > 3
    judged, limits = judge(gate, [0.1, 0.1], holding(0, 0))
    assert limits == ["", "stale" if stale else ""]
    assert judged.quantity.tolist() == [100.0, 0.0 if stale else 200.0]
    allowed, cause = gate.targets(np.array([0.1, 0.1]), np.zeros(2))
    assert (LIMIT_NAMES[cause[1]], allowed[1]) == (("stale", 0.0) if stale else ("", 0.1))


def test_what_has_no_price_is_not_bought():
    judged, limits = judge(gate_of(), [0.1, 0.1], holding(0, 0, price=[100.0, np.nan]))
    assert judged.quantity.tolist() == [100.0, 0.0]
    assert limits == ["", "stale"]


def test_a_stale_position_may_still_be_sold():
    gate = gate_of(stale_sessions=3)
    for _ in range(5):
        close(gate, [100.0, np.nan])
    judged, _ = judge(gate, [0.0, 0.05], holding(0, 200))
    assert judged.quantity.tolist() == [0.0, 100.0]


def test_a_session_in_which_nothing_trades_ages_nothing():
    gate = gate_of()
    assert close(gate, [np.nan, np.nan]).tolist() == [0, 0]
    assert close(gate, [100.0, np.nan]).tolist() == [0, 1]
    assert close(gate).tolist() == [0, 0]


@pytest.mark.parametrize(("price", "limit"), [(119.0, ""), (121.0, "collar"), (79.0, "collar")])
def test_nothing_is_bought_far_from_the_last_close(price, limit):
    gate = gate_of(price_collar=0.2)
    _, limits = judge(gate, [0.1, 0.0], holding(0, 0, price=[price, 50.0]))
    assert limits == [limit, ""]


def test_under_the_kill_switch_positions_shrink_and_never_grow():
    gate = gate_of(kill_switch=True)
    assert gate.state.halted[0]
    judged, limits = judge(gate, [0.3, 0.05], holding(100, 200))
    assert judged.quantity.tolist() == [100.0, 100.0]
    assert limits == ["kill_switch", ""]


def test_a_gate_that_was_halted_stays_halted():
    gate = gate_of()
    assert not gate.state.halted[0]
    gate.halt()
    close(gate, equity=2 * EQUITY)
    judged, limits = judge(gate, [0.1, 0.1], holding(0, 0))
    assert not judged.quantity.any()
    assert limits == ["kill_switch"] * 2


def test_beyond_the_drawdown_breaker_nothing_grows_until_the_book_recovers():
    gate = gate_of(max_drawdown=0.1)
    close(gate, equity=0.85 * EQUITY)
    assert gate.drawdown == pytest.approx(0.15)
    _, limits = judge(gate, [0.1, 0.1], holding(0, 0))
    assert limits == ["drawdown"] * 2
    close(gate, equity=0.95 * EQUITY)
    _, limits = judge(gate, [0.1, 0.1], holding(0, 0))
    assert limits == ["", ""]


def test_nothing_is_bought_before_its_history_is_long_enough():
    gate = Gate(pair(), msgspec.structs.replace(UNLIMITED, min_history=20))
    returns = np.array([[0.01, np.nan]] * 30)
    gate.close_session(PRICE, np.full(2, 1e6), returns, EQUITY)
    _, limits = judge(gate, [0.1, 0.1], holding(0, 0))
    assert limits == ["", "history"]


def test_a_decision_is_cut_with_headroom_and_its_orders_at_the_full_limit():
    gate = gate_of(max_position=0.1, headroom=0.9)
    allowed, cause = gate.targets(np.array([0.5, 0.05]), np.zeros(2))
    np.testing.assert_allclose(allowed, [0.09, 0.05])
    assert [LIMIT_NAMES[c] for c in cause] == ["position", ""]
    judged, _ = judge(gate, [0.1, 0.05], holding(0, 0))  # a drift of the price since then
    assert judged.quantity.tolist() == [100.0, 100.0]


def test_a_book_beyond_a_limit_by_drift_is_found_and_one_within_is_not():
    gate = gate_of(max_position=0.1)
    assert drifted(np.array([0.11, 0.05]), gate.model, gate.limits).tolist() == [True, False]
    assert drifted(np.array([0.1, 0.05]), gate.model, gate.limits).tolist() == [False, False]


def test_a_forced_exit_is_whole_whatever_the_volume_and_the_kill_switch():
    gate = gate_of(kill_switch=True)
    close(gate, volume=10.0)
    forced = np.array([True, False])
    judged, _ = judge(gate, [0.3, 0.1], holding(500, 200), movable=forced, forced=forced)
    assert judged.quantity.tolist() == [0.0, 200.0]


def test_what_may_not_move_is_left_as_it_is():
    judged, limits = judge(gate_of(), [0.3, 0.3], holding(100, 0), movable=np.array([False, True]))
    assert judged.quantity.tolist() == [100.0, 600.0]
    assert limits == ["", ""]


def test_orders_are_counted_over_a_session_and_anew_in_the_next():
    gate = gate_of(max_orders_per_session=2)
    judge(gate, [0.1, 0.0], holding(0, 0))
    judged, limits = judge(gate, [0.2, 0.1], holding(100, 0))
    assert np.count_nonzero(judged.quantity - [100.0, 0.0]) == 1
    assert "order_rate" in limits
    close(gate)
    _, limits = judge(gate, [0.2, 0.1], holding(100, 0))
    assert limits == ["", ""]


def test_an_order_of_a_share_is_held_against_its_volume_and_one_of_a_currency_is_not():
    shares, currencies = gate_of(), gate_of("forex")
    for gate in (shares, currencies):
        close(gate, volume=0.0)
    assert shares.mean_volume().tolist() == [5e5, 5e5]
    assert np.isinf(currencies.mean_volume()).all()


def test_a_stops_width_follows_the_volatility_of_the_newest_returns():
    gate = gate_of(stop="volatility", stop_sigmas=2.0)
    np.testing.assert_allclose(
        gate.stop_width(), 2.0 * np.sqrt(5.0) * RETURNS[-20:].std(axis=0, ddof=1)
    )
    wilder = np.concatenate([RETURNS, 10 * RETURNS[-20:]])
    gate.close_session(PRICE, np.full(2, 1e6), wilder, EQUITY)
    np.testing.assert_allclose(
        gate.stop_width(), 20.0 * np.sqrt(5.0) * RETURNS[-20:].std(axis=0, ddof=1)
    )


def test_the_risk_model_is_that_of_the_last_close():
    gate = gate_of(max_var=0.02, sessions=2)
    calm = gate.model
    assert gate.model is calm
    close(gate)
    assert gate.model is not calm


def test_a_verdict_has_a_line_for_each_instrument_that_is_held_or_asked_for():
    instruments = [Instrument(symbol=s, venue="SIM", group=s) for s in "ABCD"]
    gate = Gate(instruments, msgspec.structs.replace(UNLIMITED, max_position=0.1, min_history=20))
    returns = np.random.default_rng(0).normal(0, 0.01, (120, 4))
    price, every = np.full(4, 10.0), np.ones(4, bool)
    gate.close_session(price, np.full(4, 1e9), returns, EQUITY)
    book = Holding(np.array([0.0, 500, 0, 300]), price, np.ones(4), np.ones(4), EQUITY)
    judged = gate.judge(np.array([0.3, 0.0, 0.0, 0.03]), book, every, ~every)
    verdict = gate.verdict("d", 7, "dispatch", judged)
    assert (verdict.decision_id, verdict.ts_event, verdict.ts_init) == ("d", 7, 7)
    assert verdict.stage == "dispatch"
    lines = {
        line.symbol: (line.held, line.asked, line.allowed, line.limit) for line in verdict.lines
    }
    assert lines == {
        "A": (0.0, 0.3, 0.1, "position"),
        "B": (0.05, 0.0, 0.0, ""),
        "D": (0.03, 0.03, 0.03, ""),
    }
    assert verdict.var_frac == judged.var_frac > 0


def test_a_verdict_names_no_var_before_there_is_a_history():
    gate = Gate(pair(), LimitSettings(min_history=60))
    gate.close_session(PRICE, np.full(2, 1e6), RETURNS[:10], EQUITY)
    judged, limits = judge(gate, [0.1, 0.0], holding(0, 0))
    assert limits == ["history", ""]
    assert gate.verdict("d", 1, "delivery", judged).var_frac is None


def test_an_equity_that_may_not_be_shorted_is_sold_to_zero_and_no_further():
    judged, limits = judge(gate_of(), [-0.1, 0.0], holding(100, 0))
    assert judged.quantity.tolist() == [0.0, 0.0]
    assert limits == ["long_only", ""]
    judged, _ = judge(gate_of(shortable=True), [-0.1, 0.0], holding(100, 0))
    assert judged.quantity.tolist() == [-100.0, 0.0]
