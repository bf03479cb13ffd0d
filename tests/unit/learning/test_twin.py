"""The twin against the desk in the engine, on schedules written by hand, and its own promises."""

import msgspec
import numpy as np
import pytest

from agents.messages import Instrument, MacroValue
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from config.errors import ConfigError, DataError
from config.settings import UNLIMITED, DeskSettings, LimitSettings, Settings
from learning.twin.market_arrays import make_market_arrays
from learning.twin.twin import Twin
from tests.conftest import session
from tests.scripted_mind import Wants

LIMITS = LimitSettings(min_history=20)
START = 30


def in_engine(market, settings, weights):
    rows = [dict(zip(market.symbols, row, strict=True)) for row in weights.tolist()]
    spec = BookSpec("script", market, settings, market.session_closes[START])
    book = run_book(spec, Wants.at(market.session_closes, rows)).book
    return book.equity, book.costs


def in_twin(market, settings, weights):
    twin = Twin(make_market_arrays([market], settings), settings, 1, record=True)
    twin.reset(np.zeros(1, np.int64), np.full(1, START), settings.seed)
    equity, fees, limited = [twin.equity[0]], [0.0], 0
    for t in range(START, len(weights) - 1):
        step = twin.step(weights[t][None])
        equity.append(twin.equity[0])
        fees.append(step.fees[0])
        limited += int(step.limited[0])
    return np.array(equity), np.array(fees), limited


def schedule(rng, sessions, n, size, *, long_only):
    weights = np.where(rng.random((sessions, n)) < 0.7, rng.normal(0, size, (sessions, n)), 0.0)
    return np.abs(weights) if long_only else weights


def forex(*symbols):
    return tuple(
        Instrument(
            symbol=s,
            venue="SIM",
            group=f"G{i % 2}",
            asset_class="forex",
            currency=s[3:],
            price_precision=3 if s.endswith("JPY") else 5,
            shortable=True,
        )
        for i, s in enumerate(symbols)
    )


def assert_same(market, settings, weights):
    equity, costs = in_engine(market, settings, weights)
    twin_equity, fees, limited = in_twin(market, settings, weights)
    np.testing.assert_allclose(twin_equity, equity, atol=0.005)
    np.testing.assert_allclose(fees, costs, atol=1e-9)
    assert costs.sum() > 0
    return limited


def test_a_limited_book_of_stocks_is_the_desks_to_the_cent(make_market):
    rates = tuple(
        MacroValue(
            series="risk_free", ts_event=session(i)[0], ts_init=session(i)[0], value=3 + i / 50
        )
        for i in range(0, 100, 7)
    )
    actions = [("AAA", 45, 2.0, 0.0), ("CCC", 55, 0.5, 0.0)]
    actions += [(s, d, 1.0, 0.3) for s in ("AAA", "BBB", "DDD") for d in range(33, 90, 9)]
    market = make_market(sessions=100, macro=rates, actions=actions)
    weights = schedule(np.random.default_rng(0), 100, 4, 0.12, long_only=True)
    limits = msgspec.structs.replace(LIMITS, max_orders_per_session=2, max_correlation=0.15)
    assert assert_same(market, Settings(limits=limits), weights) > 10


def test_a_currency_book_that_flips_under_the_gate_is_the_desks_to_the_cent(make_market):
    market = make_market(sessions=80, instruments=forex("EURUSD", "GBPUSD", "USDJPY"), seed=3)
    weights = schedule(np.random.default_rng(1), 80, 3, 0.2, long_only=False)
    assert assert_same(market, Settings(limits=LIMITS), weights) > 10


def test_a_leveraged_currency_book_without_limits_is_the_desks_to_the_cent(make_market):
    market = make_market(sessions=70, instruments=forex("EURUSD", "USDJPY"), seed=4)
    weights = schedule(np.random.default_rng(2), 70, 2, 0.8, long_only=False)
    limits = msgspec.structs.replace(UNLIMITED, max_gross=5.0, max_group=3.0)
    assert_same(market, Settings(limits=limits), weights)


@pytest.fixture
def market_arrays(make_market):
    return make_market_arrays(
        [make_market(sessions=90, seed=s) for s in (1, 2)], Settings(limits=LIMITS)
    )


def started(market_arrays, batch, seed=0):
    twin = Twin(market_arrays, Settings(limits=LIMITS), batch)
    rng = np.random.default_rng(seed)
    twin.reset(rng.integers(0, 2, batch), rng.integers(30, 40, batch), seed)
    return twin


def test_a_restored_twin_goes_on_to_the_last_bit(market_arrays):
    rng = np.random.default_rng(0)
    asked = rng.normal(0.05, 0.1, (30, 16, 4))
    twin, other = started(market_arrays, 16), started(market_arrays, 16, seed=9)
    for row in asked[:12]:
        twin.step(row)
    other.restore(twin.state())
    for row in asked[12:]:
        one, two = twin.step(row), other.step(row)
        assert np.array_equal(one.growth, two.growth)
        assert np.array_equal(one.cause, two.cause)
    for name, value in twin.state().items():
        assert np.array_equal(value, other.state()[name], equal_nan=True), name


def test_books_of_a_batch_do_not_depend_on_each_other(market_arrays):
    asked = np.random.default_rng(1).normal(0.05, 0.1, (40, 8, 4))
    twin = Twin(market_arrays, Settings(limits=LIMITS), 8, record=True)
    market, start = np.arange(8) % 2, 30 + np.arange(8)
    twin.reset(market, start, 0)
    together = [twin.step(row).growth for row in asked]
    for b in range(8):
        alone = Twin(market_arrays, Settings(limits=LIMITS), 1, record=True)
        alone.reset(market[b : b + 1], start[b : b + 1], 0)
        growth = [alone.step(row[b : b + 1]).growth[0] for row in asked]
        np.testing.assert_allclose(growth, [g[b] for g in together], atol=1e-12)


def test_a_book_that_starts_anew_leaves_the_others_alone(market_arrays):
    asked = np.full((4, 4), 0.08)
    twin, other = started(market_arrays, 4), started(market_arrays, 4)
    for _ in range(5):
        twin.step(asked)
        other.step(asked)
    first = np.arange(4) == 0
    twin.reset(np.ones(4, np.int64), np.full(4, 50), 3, where=first)
    assert twin.equity[0] == Settings().market.starting_cash
    assert not twin.quantity[0].any()
    assert np.array_equal(twin.equity[1:], other.equity[1:])
    assert np.array_equal(twin.step(asked).growth[1:], other.step(asked).growth[1:])


def test_cash_alone_earns_the_riskless_rate(make_market):
    rate = MacroValue(series="risk_free", ts_event=0, ts_init=session(0)[0], value=4.0)
    settings = Settings(limits=LIMITS)
    twin = Twin(
        make_market_arrays([make_market(sessions=60, macro=(rate,))], settings), settings, 2
    )
    twin.reset(np.zeros(2, np.int64), np.full(2, 30), 0)
    step = twin.step(np.zeros((2, 4)))
    assert step.risk_free[0] > 0
    np.testing.assert_allclose(step.growth, step.risk_free, atol=1e-7)


def test_targets_that_are_not_numbers_are_refused(market_arrays):
    asked = np.zeros((2, 4))
    asked[1, 2] = np.nan
    with pytest.raises(ValueError, match="with 1 not finite"):
        started(market_arrays, 2).step(asked)


def test_a_start_without_a_next_session_is_refused(market_arrays):
    twin = Twin(market_arrays, Settings(limits=LIMITS), 1)
    with pytest.raises(ValueError, match=r"sessions in 0\.\.88"):
        twin.reset(np.zeros(1, np.int64), np.full(1, 89), 0)


def test_a_desk_that_does_not_decide_every_session_is_refused_unless_told_when(market_arrays):
    twin = Twin(
        market_arrays, Settings(limits=LIMITS, desk=DeskSettings(decide_every_sessions=2)), 1
    )
    twin.reset(np.zeros(1, np.int64), np.full(1, 30), 0)
    with pytest.raises(ConfigError, match="decide_every_sessions"):
        twin.step(np.full((1, 4), 0.08))
    twin.step(np.full((1, 4), 0.08), decides=np.zeros(1, bool))
    assert not twin.quantity.any()
    twin.step(np.full((1, 4), 0.08), decides=np.ones(1, bool))
    assert twin.quantity.all()


def test_markets_of_other_lengths_or_of_one_session_are_refused(make_market):
    with pytest.raises(DataError, match="sessions"):
        make_market_arrays([make_market(sessions=50), make_market(sessions=51)], Settings())
    with pytest.raises(DataError, match="at least 2 sessions, was 1"):
        make_market_arrays([make_market(sessions=1)], Settings())


def test_the_tapes_risk_is_the_gates(make_market):
    from agents.gate.measures import measure
    from learning.twin.risk_arrays import RiskReader
    from strategies.risk import Gate

    market = make_market(sessions=90)
    settings = Settings(limits=LIMITS, desk=DeskSettings(panel_sessions=40))
    market_arrays = make_market_arrays([market], settings)
    gate = Gate(market.instruments, LIMITS)
    reader = RiskReader(market_arrays.risk, market_arrays.group, market_arrays.shortable)
    rng = np.random.default_rng(0)
    for t in range(90):
        panel = market_arrays.returns[0, max(1, t - 39) : t + 1]
        gate.close_session(market_arrays.session_close[0, t], np.full(4, 1e6), panel, 1e5)
        model = reader.at(np.zeros(1, np.int64), np.full(1, t))
        assert np.array_equal(model.known[0], gate.model.known)
        assert np.array_equal(model.correlation[0], gate.model.correlation)
        book = rng.normal(0, 0.2, 4)
        np.testing.assert_allclose(
            measure(book[None], model).var[0], measure(book, gate.model).var, rtol=1e-12
        )
