"""A basket of 150: all of it is bought, and an order that does not end filled fails the run."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from agents.baselines import EqualWeight
from agents.messages import FillRecord, Instrument, OrderRecord
from backtest.engine import run_book as engine
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData, canonical
from config.errors import OrderFailed
from config.settings import UNLIMITED, Settings
from tests.conftest import session

COUNT, SESSIONS, START = 150, 8, 3


@pytest.fixture(scope="module")
def market() -> MarketData:
    """Return 150 made stocks."""
    rng = np.random.default_rng(0)
    symbols = [f"S{i:03d}" for i in range(COUNT)]
    stamps = np.array([session(day) for day in range(SESSIONS)])
    price = rng.uniform(5, 60, COUNT) * np.exp(rng.normal(0, 0.01, (SESSIONS, COUNT)).cumsum(0))
    price = price.round(2).ravel()
    bars = pd.DataFrame(
        {
            "symbol": np.tile(symbols, SESSIONS),
            "ts_open": np.repeat(stamps[:, 0], COUNT),
            "ts_close": np.repeat(stamps[:, 1], COUNT),
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": 1e6,
        }
    )
    return canonical(
        MarketData(
            name="wide",
            instruments=tuple(
                Instrument(symbol=s, venue="SIM", group=f"G{i % 11}")
                for i, s in enumerate(symbols)
            ),
            bars=bars,
            actions=pd.DataFrame({"symbol": [], "ts": [], "split": [], "dividend": []}),
            session_closes=tuple(stamps[:, 1].tolist()),
            step_ns=0,
            price_basis="unadjusted",
        )
    )


def run(market):
    settings = Settings()
    costs = msgspec.structs.replace(settings.market, starting_cash=1e6, cost_frac=0.0005)
    settings = msgspec.structs.replace(settings, market=costs)
    decide_from = market.session_closes[START]
    spec = BookSpec("equal-weight", market, settings, decide_from, gate=UNLIMITED)
    return run_book(spec, EqualWeight())


def test_all_of_a_basket_of_150_is_sent_and_filled(market):
    found = run(market)
    orders, fills = found.records.of(OrderRecord), found.records.of(FillRecord)
    first = [o for o in orders if o.ts_event == session(START + 1)[0]]
    assert len({o.symbol for o in first}) == len(first) == COUNT
    filled = {o.order_id: 0.0 for o in orders}
    for fill in fills:
        filled[fill.order_id] += fill.quantity
    assert filled == {o.order_id: o.quantity for o in orders}
    assert found.book.gross[1] == pytest.approx(0.98, abs=0.011)


def test_an_order_that_is_denied_fails_the_run_at_once(market, monkeypatch):
    monkeypatch.setattr(engine, "ORDER_RATE", "100/00:00:01")  # Nautilus's own
    with pytest.raises(OrderFailed, match=r"expected order O-\S+ of S100\.SIM to be filled, was "):
        run(market)
