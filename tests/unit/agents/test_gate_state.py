"""What the gate remembers of a book - what waits, what is held, what halts - and how it judges."""

import msgspec
import numpy as np
import pytest

from agents.gate.limits import LIMIT_NAMES
from agents.gate.measures import value_at_risk
from agents.gate.risk_model import estimate_risk
from agents.gate.rules import (
    Holding,
    Market,
    delivery_targets,
    grows,
    judge,
    mean_volume,
    recent_volatility,
    stop_width,
)
from agents.gate.state import NEVER, STOP, GateState
from config.settings import UNLIMITED, LimitSettings

ALL = slice(None)
LIMITS = LimitSettings(min_history=1)


def holding(quantity, price, equity=100_000.0):
    quantity = np.array([quantity], dtype=float)
    price = np.array([price], dtype=float)
    n = quantity.shape[1]
    return Holding(quantity, price, np.ones((1, n)), np.ones(n), np.array([equity]))


def decided(state, book, weights, ts=10, expires=100):
    held = book.weights()
    stamps = np.array([ts])
    state.decide(ALL, held, np.array([weights]), book, stamps, stamps - 1, np.array([expires]))


def two(limits=LIMITS):
    state = GateState(1, 2, limits)
    state.reset(np.ones(1, bool), 100_000.0)
    return state


def model_of(n, seed=0, correlation=0.0, scale=0.01):
    rng = np.random.default_rng(seed)
    common = rng.normal(0, scale, (400, 1))
    returns = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(
        0, scale, (400, n)
    )
    return estimate_risk(returns, np.zeros(n, np.int64), np.ones(n, bool), 1)


def judged(asked, book, model, limits, *, orders=0, movable=None, forced=None, volume=None):
    n = len(book.lot)
    return judge(
        np.array([asked]),
        book,
        np.ones((1, n), bool) if movable is None else movable,
        np.zeros((1, n), bool) if forced is None else forced,
        Market(
            np.zeros((1, n), np.int64),
            np.full((1, n), np.inf) if volume is None else np.array([volume], dtype=float),
        ),
        np.array([orders]),
        model,
        limits,
    )


def test_a_decision_that_holds_asks_for_nothing_however_far_the_price_gaps():
    state, book = two(), holding([500, 300], [100.0, 100.0])
    decided(state, book, book.weights()[0])
    assert not state.waits
    gapped = holding([500, 300], [120.0, 80.0])
    pending = state.take(ALL, np.array([20]), np.ones((1, 2), bool))
    assert np.array_equal(pending.weights(gapped, band=0.0), gapped.weights())


def test_a_target_is_the_quantity_of_the_decisions_prices():
    state, book = two(), holding([0, 0], [100.0, 50.0])
    decided(state, book, [0.1, 0.2])
    gapped = holding([0, 0], [125.0, 50.0])
    pending = state.take(ALL, np.array([20]), np.ones((1, 2), bool))
    assert pending.target.tolist() == [[100.0, 400.0]]
    np.testing.assert_allclose(pending.weights(gapped, band=0.01), [[0.125, 0.2]])


def test_a_newer_decision_that_holds_takes_an_older_ones_target_back():
    state, book = two(), holding([0, 0], [100.0, 50.0])
    decided(state, book, [0.1, 0.0])
    decided(state, book, [0.0, 0.0], ts=12)
    assert not state.waits


def test_a_decision_waits_until_its_expiry_and_is_counted_once_after_it():
    state, book = two(), holding([0, 0], [100.0, 50.0])
    fresh = np.ones((1, 2), bool)
    decided(state, book, [0.1, 0.2], expires=20)
    late = state.take(ALL, np.array([21]), fresh)
    assert not late.movable.any()
    assert state.expired.tolist() == [1]
    decided(state, book, [0.1, 0.2], ts=22, expires=30)
    assert state.take(ALL, np.array([30]), fresh).movable.all()
    assert state.expired.tolist() == [1]


def test_a_forced_exit_outlives_decisions_and_expiries():
    state, book = two(), holding([500, 0], [100.0, 50.0])
    state.stop_out(ALL, np.array([[True, False]]), np.array([5]))
    decided(state, book, [0.5, 0.1], expires=20)
    pending = state.take(ALL, np.array([1_000]), np.ones((1, 2), bool))
    assert pending.exits.tolist() == [[STOP, 0]]
    assert pending.weights(book, band=0.01)[0, 0] == 0.0
    assert state.cooldown.tolist() == [[LIMITS.stop_cooldown_sessions, 0]]


def test_the_gates_reduction_is_sent_within_the_band_and_survives_a_decision_that_holds():
    state, book = two(), holding([1_000, 0], [100.0, 50.0], equity=1_000_000.0)
    state.reduce(ALL, np.array([[True, False]]), np.array([[0.095, 0.0]]), book, np.array([5]))
    decided(state, book, book.weights()[0])
    pending = state.take(ALL, np.array([20]), np.ones((1, 2), bool))
    np.testing.assert_allclose(pending.weights(book, band=0.01)[0], [0.095, 0.0])


@pytest.mark.parametrize("equity", [0.0, -1.0, np.nan])
def test_equity_at_or_below_zero_halts_for_good(equity):
    state = two()
    state.close_session(np.array([equity]))
    state.close_session(np.array([1e6]))
    known = np.ones((1, 2), bool)
    codes = state.blocked(ALL, np.ones((1, 2)), np.ones((1, 2)), np.zeros((1, 2), int), known)
    assert [LIMIT_NAMES[c] for c in codes[0]] == ["kill_switch", "kill_switch"]


def test_of_a_ruined_book_forced_exits_go_and_nothing_else():
    book = holding([500, 300], [100.0, 50.0], equity=-5.0)
    forced = np.array([[True, False]])
    quantity, cause, orders = judged([0.0, 0.9], book, model_of(2), LIMITS, forced=forced)
    assert quantity.tolist() == [[0.0, 300.0]]
    assert [LIMIT_NAMES[c] for c in cause[0]] == ["", "kill_switch"]
    assert orders.tolist() == [1]


def test_a_ruined_book_does_not_touch_its_neighbours():
    model, free = model_of(2), UNLIMITED
    both = Holding(
        np.zeros((2, 2)), np.full((2, 2), 50.0), np.ones((2, 2)), np.ones(2), np.array([1e5, -1.0])
    )
    market = Market(np.zeros((2, 2), np.int64), np.full((2, 2), np.inf))
    every = np.ones((2, 2), bool)
    asked = np.full((2, 2), 0.2)
    quantity, _, _ = judge(asked, both, every, ~every, market, np.zeros(2, np.int64), model, free)
    assert quantity.tolist() == [[400.0, 400.0], [0.0, 0.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_are_no_numbers_are_refused(bad):
    model = model_of(2)
    with pytest.raises(ValueError, match="finite target weights"):
        delivery_targets(
            np.array([[bad, 0.1]]), np.zeros((1, 2)), np.zeros((1, 2), int), model, LIMITS, 252
        )
    with pytest.raises(ValueError, match="finite target weights"):
        judged([bad, 0.1], holding([0, 0], [10.0, 10.0]), model, LIMITS)


def test_a_flip_through_zero_is_an_increase():
    after, before = np.array([-30.0, 30.0, 60.0, 0.0]), np.full(4, 50.0)
    assert grows(after, before).tolist() == [True, False, True, False]


def test_a_forced_exit_goes_where_its_hedge_cannot_trade_though_var_gets_worse():
    model = model_of(2, correlation=0.999)
    limits = msgspec.structs.replace(UNLIMITED, max_var=0.005)
    book = holding([4_900, -4_900], [10.0, 10.0])
    movable = np.array([[True, False]])
    quantity, _, _ = judged([0.0, -0.49], book, model, limits, movable=movable, forced=movable)
    assert quantity.tolist() == [[0.0, -4_900.0]]
    before, after = (value_at_risk(book.weights(q), model)[0] for q in (book.quantity, quantity))
    assert before < 0.005 < after


def test_the_order_rate_never_splits_a_hedge():
    model = model_of(2, correlation=0.999)
    limits = msgspec.structs.replace(
        UNLIMITED, max_orders_per_session=1, max_gross=1.0, max_var=0.005
    )
    book = holding([0, 0], [10.0, 10.0])
    quantity, cause, _ = judged([0.49, -0.49], book, model, limits)
    assert quantity.tolist() == [[0.0, 0.0]]
    assert {LIMIT_NAMES[c] for c in cause[0]} == {"order_rate"}
    free = msgspec.structs.replace(limits, max_orders_per_session=2)
    hedged, _, orders = judged([0.49, -0.49], book, model, free)
    assert np.all(hedged != 0)
    assert orders.tolist() == [2]
    assert value_at_risk(book.weights(hedged), model)[0] <= 0.005


def test_what_the_order_rate_lets_through_is_measured_without_the_rest():
    model = model_of(3, correlation=0.0, scale=0.02)
    limits = msgspec.structs.replace(UNLIMITED, max_orders_per_session=2, max_var=0.01)
    book = holding([0, 0, 0], [10.0, 10.0, 10.0])
    quantity, cause, orders = judged([0.3, 0.3, 0.3], book, model, limits)
    assert np.count_nonzero(quantity) == 2
    assert orders.tolist() == [2]
    assert LIMIT_NAMES[cause[0, 2]] == "order_rate"
    assert value_at_risk(book.weights(quantity), model)[0] <= 0.01


def test_an_order_is_at_most_its_share_of_the_mean_volume_and_an_exit_is_not_cut():
    limits = msgspec.structs.replace(UNLIMITED, max_volume_frac=0.1)
    book = holding([0, 3_000], [10.0, 10.0])
    forced = np.array([[False, True]])
    quantity, cause, _ = judged(
        [0.9, 0.0], book, model_of(2), limits, forced=forced, volume=[5_000, 100]
    )
    assert quantity.tolist() == [[500.0, 0.0]]
    assert LIMIT_NAMES[cause[0, 0]] == "volume"


def test_the_rest_of_a_cut_target_waits_for_the_next_price():
    state, book = two(), holding([0, 0], [10.0, 10.0])
    decided(state, book, [0.1, 0.0], expires=50)
    first = state.take(ALL, np.array([20]), np.ones((1, 2), bool))
    state.wait_on(ALL, first.movable & np.array([[True, False]]), np.array([20]))
    assert not state.take(ALL, np.array([20]), np.ones((1, 2), bool)).movable.any()
    state.wait_on(ALL, np.array([[True, False]]), np.array([20]))
    assert state.take(ALL, np.array([30]), np.ones((1, 2), bool)).movable.tolist() == [
        [True, False]
    ]


@pytest.mark.parametrize("year", [252, 365])
def test_a_decision_is_scaled_down_to_the_volatility_target_of_its_year(year):
    model = model_of(2, scale=0.02)
    limits = msgspec.structs.replace(UNLIMITED, volatility_target=0.10)
    asked = np.array([[0.5, 0.5]])
    allowed, cause = delivery_targets(
        asked, np.zeros((1, 2)), np.zeros((1, 2), int), model, limits, year
    )
    assert model.deviation(allowed)[0] * np.sqrt(year) == pytest.approx(0.10)
    assert {LIMIT_NAMES[c] for c in cause[0]} == {"volatility"}


def test_stops_lie_where_their_kind_puts_them():
    returns = np.random.default_rng(0).normal(0, 0.02, (60, 2))
    sigma = recent_volatility(returns)
    np.testing.assert_allclose(sigma, returns[-20:].std(axis=0, ddof=1))
    kinds = {
        kind: stop_width(sigma, msgspec.structs.replace(LIMITS, stop=kind))
        for kind in ("fraction", "volatility", "none")
    }
    assert kinds["fraction"].tolist() == [0.02, 0.02]
    np.testing.assert_allclose(kinds["volatility"], 3.0 * np.sqrt(5.0) * sigma)
    assert np.isnan(kinds["none"]).all()
    state = two()
    every, width = np.ones((1, 2), bool), kinds["fraction"][None]
    state.set_stops(ALL, every, np.array([[10.0, -10.0]]), np.array([[100.0, 50.0]]), width)
    assert (state.stop_below[0, 0], state.stop_above[0, 1]) == (98.0, 51.0)
    state.set_stops(ALL, every, np.array([[10.0, 0.0]]), np.array([[100.0, 0.0]]), width * np.nan)
    assert np.isneginf(state.stop_below).all()
    assert np.isposinf(state.stop_above).all()


def test_mean_volume_leaves_out_sessions_without_a_bar():
    volumes = np.array([[9e9, np.nan]] * 5 + [[100.0, np.nan], [np.nan, 50.0]] * 10)
    assert mean_volume(volumes).tolist() == [100.0, 50.0]


def test_a_state_goes_on_from_its_arrays():
    state, book = two(), holding([0, 0], [100.0, 50.0])
    decided(state, book, [0.1, 0.2])
    other = two()
    other.restore(state.arrays())
    assert other.held_since.tolist() == [[10, 10]]
    assert two().held_since.tolist() == [[NEVER, NEVER]]
