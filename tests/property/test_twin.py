"""The gate's promise inside the twin, over generated books, and that its shortcuts are exact."""

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.gate.measures import allowance, value_at_risk, within
from agents.gate.rules import Holding, Market, judge
from agents.messages import Instrument
from config.settings import LimitSettings, Settings
from learning.twin.market_arrays import make_market_arrays
from learning.twin.risk_arrays import RiskReader
from learning.twin.twin import Twin
from tests.conftest import _make_market

LIMITS = LimitSettings(min_history=20, max_var=0.012)
SETTINGS = Settings(limits=LIMITS)


@functools.cache
def market_arrays():
    instruments = tuple(
        Instrument(
            symbol=f"S{i}", venue="SIM", asset_class="index", group=f"G{i % 2}", shortable=i < 3
        )
        for i in range(5)
    )
    markets = [
        _make_market(instruments=instruments, sessions=140, seed=s, news_every=0) for s in (1, 2)
    ]
    return make_market_arrays(markets, SETTINGS)


def models(rng, batch):
    reader = RiskReader(market_arrays().risk, market_arrays().group, market_arrays().shortable)
    return reader.at(rng.integers(0, 2, batch), rng.integers(25, 139, batch))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.5), st.floats(0.0, 0.4))
def test_no_book_of_a_batch_goes_beyond_a_limit_or_worsens_a_breach(seed, ask, hold):
    rng = np.random.default_rng(seed)
    batch, n = 24, 5
    model = models(rng, batch)
    price = rng.uniform(5, 900, (batch, n))
    equity = rng.uniform(20_000, 2_000_000, batch)
    lots = np.trunc(rng.normal(0, hold, (batch, n)) * equity[:, None] / price)
    held = np.where(market_arrays().shortable, lots, np.abs(lots))
    holding = Holding(held, price, np.ones((batch, n)), np.ones(n), equity)
    forced = (rng.random((batch, n)) < 0.1) & (held != 0)
    movable = (rng.random((batch, n)) < 0.9) | forced
    quantity, _, _ = judge(
        rng.normal(0, ask, (batch, n)),
        holding,
        movable,
        forced & movable.all(axis=1, keepdims=True),
        Market(np.zeros((batch, n), np.int64), np.full((batch, n), np.inf)),
        np.zeros(batch, np.int64),
        model,
        LIMITS,
    )
    caps = allowance(holding.weights(), model, LIMITS)
    assert within(holding.weights(quantity), model, caps, 1e-6).all()
    assert not np.any((quantity != held) & ~movable)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 1.0), st.floats(0.001, 0.05))
def test_a_var_that_need_not_be_exact_is_on_the_right_side_of_its_cap(seed, size, cap):
    rng = np.random.default_rng(seed)
    model = models(rng, 16)
    weights = rng.normal(0, size, (16, 5)) * (rng.random((16, 5)) < 0.6)
    exact = value_at_risk(weights, model)
    spared = value_at_risk(weights, model, cap)
    assert np.all(spared >= exact - 1e-15)
    assert np.array_equal(spared > cap, exact > cap)
    np.testing.assert_array_equal(spared[exact > cap], exact[exact > cap])


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.02, 0.4))
def test_weights_and_equity_stay_those_of_the_quantities(seed, size):
    rng = np.random.default_rng(seed)
    twin = Twin(market_arrays(), SETTINGS, 12)
    twin.reset(rng.integers(0, 2, 12), np.full(12, 30), seed % 1000)
    value = 1.0
    for _ in range(40):
        step = twin.step(rng.normal(0, size, (12, 5)))
        value = value * (1.0 + step.growth)
        price = market_arrays().last_close[twin.market, twin.t]
        weights = twin.quantity * price / twin.equity[:, None]
        np.testing.assert_allclose(twin.weights, weights, atol=1e-12)
        assert np.all(twin.weights[:, 3:] >= 0)
    np.testing.assert_allclose(value * SETTINGS.market.starting_cash, twin.equity, rtol=1e-10)
