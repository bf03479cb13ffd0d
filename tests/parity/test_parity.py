"""The twin and the engine, side by side on random schedules."""

from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest

from backtest.market.market_data import canonical
from backtest.sources.known import make_instrument
from config.currencies import usual_cash
from learning.twin import parity
from learning.twin.parity import by_kind, compare
from learning.twin.schedules import KINDS, make_schedule, schedules

SEED = 11


@pytest.mark.parametrize("kind", KINDS)
def test_fills_fees_and_equity_agree_to_the_cent_at_every_step(kind):
    result = compare(make_schedule(kind, SEED + KINDS.index(kind)))
    assert result.difference == ""
    assert result.steps > 0
    assert result.money < 1e-6


@pytest.mark.slow
def test_two_hundred_schedules_agree_to_the_cent():
    results = [compare(schedule) for schedule in schedules(200, 7)]
    assert [r.difference for r in results if r.difference] == []
    assert {row.kind for row in by_kind(results)} == set(KINDS)
    assert sum(row.fills for row in by_kind(results)) > 5_000
    assert sum(row.delisted for row in by_kind(results)) > 20
    assert sum(row.stops for row in by_kind(results)) > 100


def test_a_schedule_is_made_again_by_its_kind_and_seed():
    first, again, other = (make_schedule("gaps", seed) for seed in (3, 3, 4))
    assert first.market.digest == again.market.digest != other.market.digest
    assert first.settings == again.settings
    np.testing.assert_array_equal(first.targets, again.targets)


def test_schedules_go_where_the_two_worlds_could_differ():
    made = list(schedules(4 * len(KINDS), 5))
    markets = [s.market for s in made]
    assert {len(m.instruments) for m in markets} >= {1, 2, 4, 8}
    assert max(len(m.instruments) for m in markets) > 130
    spans = [m.bars.groupby("symbol")["ts_close"].agg(["min", "max"]) for m in markets]
    starts = [s.market.session_closes[s.start] for s in made]
    assert any((span["min"] > ts).any() for span, ts in zip(spans, starts, strict=True))
    assert any((span["max"] < ts).any() for span, ts in zip(spans, starts, strict=True))
    assert any(np.isnan(s.targets).any() for s in made)
    assert {s.settings.limits.stop for s in made} == {"fraction", "volatility", "none"}
    assert any(m.step_ns for m in markets)
    assert any(i.currency == "JPY" for m in markets for i in m.instruments)
    assert any(i.currency == "GBP" for m in markets for i in m.instruments)
    assert any(i.lot_size < 1 for m in markets for i in m.instruments)
    assert any((m.actions["split"] != 1).any() for m in markets)
    assert any((m.actions["dividend"] > 0).any() for m in markets)
    assert any(m.macro for m in markets)
    assert any((m.bars["volume"] == 0).any() for m in markets)
    assert {s.settings.desk.latency_ms == 0 for s in made} == {True, False}


def test_one_cent_of_difference_is_found_and_told(monkeypatch):
    schedule = make_schedule("flipping", SEED)

    class Generous(parity.Twin):
        def step(self, targets):
            if self.t[parity.BOOK] == schedule.start + 3:
                self._balance = self._balance + 1.0
            return super().step(targets)

    monkeypatch.setattr(parity, "Twin", Generous)
    result = compare(schedule)
    assert result.steps == 4
    assert "expected a balance of" in result.difference
    assert result.money == pytest.approx(0.01)


def test_another_stream_of_slips_is_found_and_told(monkeypatch):
    schedule = make_schedule("flipping", SEED)
    market = msgspec.structs.replace(schedule.settings.market, slippage_probability=0.5)
    settings = msgspec.structs.replace(schedule.settings, market=market)

    class Elsewhere(parity.Twin):
        def reset(self, market, session, seed, *, where=None):
            super().reset(market, session, seed + 1, where=where)

    monkeypatch.setattr(parity, "Twin", Elsewhere)
    result = compare(type(schedule)(**{**vars(schedule), "settings": settings}))
    assert "expected the fill" in result.difference


def test_an_order_on_what_is_held_is_found_and_told(monkeypatch):
    schedule = make_schedule("hold", SEED)
    restless = np.where(np.isnan(schedule.targets), 0.3, schedule.targets)

    class Restless(parity.EngineBook):
        def step(self, targets):
            return super().step(restless[self.market.session_closes.index(self._at) - 12])

        def _close(self, case):
            close = super()._close(case)
            self._at = close.ts
            return close

    class Same(parity.Twin):
        def step(self, targets):
            row = restless[int(self.t[parity.BOOK]) - 12]
            return super().step(np.array([-row, row, row]))

    monkeypatch.setattr(parity, "EngineBook", Restless)
    monkeypatch.setattr(parity, "Twin", Same)
    assert "expected no order for what is held" in compare(schedule).difference


def test_an_equity_that_is_no_number_is_a_difference(monkeypatch):
    class Lost(parity.Twin):
        def step(self, targets):
            self._balance = self._balance * np.nan
            return super().step(targets)

    monkeypatch.setattr(parity, "Twin", Lost)
    assert "was nan" in compare(make_schedule("holding", SEED)).difference


@pytest.mark.parametrize("seed", [3, 8])
def test_a_ruined_book_is_ruined_in_both_worlds(seed, monkeypatch):
    closes = []
    real = parity._Account.compare
    monkeypatch.setattr(
        parity._Account,
        "compare",
        lambda a, close, *rest: (closes.append(close), real(a, close, *rest))[1],
    )
    assert compare(make_schedule("ruin", seed)).difference == ""
    assert any(close.case is None for close in closes)


@pytest.mark.parametrize(
    ("currency", "pairs"),
    [
        ("USDT", {"BTCUSDT": (60_000.0, 1e-5), "SHIBUSDT": (1.2e-5, 1e5)}),
        ("BTC", {"ETHBTC": (0.05, 1e-4), "XRPBTC": (2e-5, 0.1)}),
        ("USDT", {"BTCUSDT": (60_000.0, 1e-5), "ETHBTC": (0.05, 1e-4)}),
    ],
)
@pytest.mark.parametrize("volume", [0.0, 1.0])
def test_books_of_coins_agree_in_an_account_of_coins(currency, pairs, volume):
    made = make_schedule("volume cuts", 5)
    schedule = replace(made, market=coins(made.market, pairs, volume), targets=targets(made, 2))
    account = {"currency": currency, "starting_cash": usual_cash(currency)}
    market = msgspec.structs.replace(made.settings.market, **account)
    limits = msgspec.structs.replace(made.settings.limits, volatility_target=0.10)
    settings = msgspec.structs.replace(made.settings, market=market, limits=limits)
    result = compare(replace(schedule, settings=settings))
    assert result.difference == ""
    assert result.money < 1e-11 * usual_cash(currency)
    assert result.fills > 0


def targets(made, count):
    rng = np.random.default_rng(2)
    return rng.uniform(0.0, 0.4, (len(made.targets), count))


def coins(market, pairs, volume):
    """Return a market of the sessions of another whose instruments are coins."""
    rng = np.random.default_rng(1)
    bars = market.bars[market.bars["symbol"] == market.bars["symbol"].iloc[0]]
    instruments, tables = [], []
    for symbol, (price, lot) in sorted(pairs.items()):
        instruments.append(
            msgspec.structs.replace(
                make_instrument(symbol, price, {}), lot_size=lot, cost_bps=10.0
            )
        )
        path = price * np.exp(np.cumsum(rng.normal(0.0, 0.02, len(bars))))
        path = path.round(instruments[-1].printed_precision)
        traded = rng.uniform(0.0, 3e4 / price, len(bars)).round(instruments[-1].size_precision)
        table = bars.assign(symbol=symbol, open=path, high=path, low=path, close=path)
        tables.append(table.assign(volume=traded * volume))
    return canonical(
        replace(
            market,
            instruments=tuple(instruments),
            bars=pd.concat(tables),
            actions=market.actions.iloc[:0],
            calendar="24/7",
        )
    )
