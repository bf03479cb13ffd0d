"""
Measures the desk's speed, beside the bare engine's on the same bars.

Absolute times mean little on a shared machine; the ratio in one run does.
"""

import statistics
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.data import Bar
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Currency, Money
from nautilus_trader.trading.strategy import Strategy

from agents.messages import Instrument
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData
from config.costs import COST_FRAC
from config.settings import Settings
from ops.bench.random_walks import DAY_NS, FIRST_DAY, OPENING_NS, make_bars, make_walks
from ops.composition.model_minds import build_mind
from strategies.instruments import bar_type, to_nautilus

MINUTE_NS = 60_000_000_000
BARS_PER_SESSION = 390
ROUNDS = 3


class _NoOp(Strategy):
    """Takes bars and does nothing: what the engine alone costs."""

    def __init__(self, bar_types: list[Any]) -> None:
        super().__init__(StrategyConfig(strategy_id="NOOP-000"))
        self._bar_types = bar_types

    def on_start(self) -> None:
        for kind in self._bar_types:
            self.subscribe_bars(kind)

    def on_bar(self, bar: Bar) -> None:
        pass


@dataclass(frozen=True)
class _Timing:
    bare: float
    quoted: float
    desk: float


def minute_market(sessions: int, seed: int) -> MarketData:
    """Return random walks of 8 instruments in 1-minute bars."""
    rng = np.random.default_rng(seed)
    instruments = tuple(
        Instrument(symbol=f"S{i}", venue="SIM", group=f"G{i % 4}") for i in range(8)
    )
    days = (FIRST_DAY + np.arange(sessions)) * DAY_NS + OPENING_NS
    opens = (days[:, None] + np.arange(BARS_PER_SESSION) * MINUTE_NS).ravel()
    tables = []
    for instrument in instruments:
        steps = rng.normal(0.0, 4e-4, (len(opens), 4))
        close = 100.0 * np.exp(np.cumsum(steps[:, 0]))
        opened = np.concatenate([[100.0], close[:-1]])
        spread = np.abs(steps[:, 1:3]) * close[:, None]
        prices = {
            "open": opened,
            "high": np.maximum(opened, close) + spread[:, 0],
            "low": np.minimum(opened, close) - spread[:, 1],
            "close": close,
        }
        volume = rng.integers(100, 10_000, len(opens)).astype(float)
        tables.append(make_bars(instrument, opens, opens + MINUTE_NS - 1, prices, volume))
    closes = days + BARS_PER_SESSION * MINUTE_NS
    return make_walks("random minutes", instruments, tables, closes, step_ns=MINUTE_NS)


def measure_desk(*, sessions: int, seed: int) -> dict[str, Any]:
    """
    Return bars/s of the bare engine and of the desk deciding daily, and their ratio.

    In seconds of processor time, so that neighbours on a shared machine weigh less. Three
    rounds, each the bare engine (bars only), the bare engine given the opening quotes as well,
    and the desk, one after the other; medians of the rounds' ratios. Feeds are made before the
    clock starts; engine set-up and loading are in all three.
    """
    market = minute_market(sessions, seed)
    settings = msgspec.structs.replace(
        Settings(seed=seed),
        limits=msgspec.structs.replace(Settings().limits, min_history=2),
    )
    spec = BookSpec("desk", market, settings, market.session_closes[0])
    bars_only = [event for event in spec.feed.prices if isinstance(event, Bar)]
    timings = []
    for _ in range(ROUNDS):
        bare = _time_bare(market, bars_only)
        quoted = _time_bare(market, spec.feed.prices)
        started = time.process_time()
        run = run_book(spec, build_mind(settings))
        timings.append(_Timing(bare, quoted, time.process_time() - started))
    bars = len(bars_only)
    return {
        "bars": bars,
        "decisions": len(market.session_closes),
        "fills": int(np.count_nonzero(run.book.costs)),
        "bare_bars_per_s": round(bars / statistics.median(t.bare for t in timings)),
        "bare_with_quotes_bars_per_s": round(bars / statistics.median(t.quoted for t in timings)),
        "desk_bars_per_s": round(bars / statistics.median(t.desk for t in timings)),
        "ratio": round(statistics.median(t.bare / t.desk for t in timings), 3),
        "ratio_with_quotes": round(statistics.median(t.quoted / t.desk for t in timings), 3),
    }


def _time_bare(market: MarketData, events: list[Any]) -> float:
    """Return the seconds that an engine with a no-op strategy takes, set-up included."""
    started = time.process_time()
    engine = BacktestEngine(
        BacktestEngineConfig(run_analysis=False, logging=LoggingConfig(log_level="OFF"))
    )
    usd = Currency.from_str("USD")
    engine.add_venue(
        Venue("SIM"),
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money(100_000, usd)],
        base_currency=usd,
        default_leverage=Decimal(1),
    )
    for instrument in market.instruments:
        engine.add_instrument(to_nautilus(instrument, cost_frac=COST_FRAC))
    engine.add_data(events, sort=False)
    engine.sort_data()
    engine.add_strategy(_NoOp([bar_type(i, market.step_ns) for i in market.instruments]))
    engine.run()
    engine.dispose()
    return time.process_time() - started
