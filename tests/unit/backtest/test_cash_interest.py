"""Interest accrues at the rate that was known when the interval began."""

import msgspec
import numpy as np
import pytest

from agents.messages import MacroValue
from backtest.engine.stepped_book import EngineBook
from backtest.market.rules import YEAR_NS
from config.settings import UNLIMITED, DeskSettings, MarketSettings, Settings
from learning.twin.market_arrays import make_market_arrays
from learning.twin.twin import Twin

SETTINGS = Settings(
    market=MarketSettings(slippage_probability=0.0),
    limits=msgspec.structs.replace(UNLIMITED, min_history=1, stop_loss=1.0),
    desk=DeskSettings(latency_ms=0.0),
)
START = 30


@pytest.mark.parametrize("event", ["close", "open"])
def test_a_rate_pays_from_the_interval_after_it_became_known(make_market, event):
    plain = make_market(symbols=("AAA",), sessions=40, news_every=0)
    opens, closes = plain.bars["ts_open"].to_numpy(), plain.session_closes
    ts = int(closes[START]) if event == "close" else int(opens[START + 1])
    rate = MacroValue(series="risk_free", ts_event=ts, ts_init=ts, value=5.0)
    market = make_market(symbols=("AAA",), sessions=40, news_every=0, macro=(rate,))
    book = EngineBook(market, SETTINGS, start=START)
    twin = Twin(make_market_arrays([market], SETTINGS), SETTINGS, 1, record=True)
    twin.reset(np.zeros(1, np.int64), np.full(1, START), 0)
    try:
        book.start()
        closes_of_book = [book.step(np.zeros(1)) for _ in range(3)]
    finally:
        book.close()
    steps = [twin.step(np.zeros((1, 1))) for _ in range(3)]
    begins = [closes[START], opens[START + 1], opens[START + 2]]
    spans = np.diff([*begins, opens[START + 3]]) / YEAR_NS
    paid = [0.05 if ts <= begin else 0.0 for begin in begins]
    assert paid == ([0.05, 0.05, 0.05] if event == "close" else [0.0, 0.05, 0.05])
    earned = [close.risk_free for close in closes_of_book]
    assert earned == pytest.approx(np.array(paid) * spans)
    assert [float(s.risk_free[0]) for s in steps] == pytest.approx(earned)
    balance = 100_000.0
    for close, fraction in zip(closes_of_book, earned, strict=True):
        balance += round(balance * fraction, 2)
        assert close.balance == pytest.approx(balance, abs=0.011)
