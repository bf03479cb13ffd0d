"""
One book through the Nautilus engine: data in, the desk in the middle, a `Book` and records out.

Every run builds its own engine, so that nothing is carried over; a run that did not go to its
end, or not without an error, fails as `backtest.engine.desk_result` says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

from nautilus_trader.backtest.data_client import BacktestDataClient
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import TraderId, Venue
from nautilus_trader.model.objects import Currency, Money

from agents.messages import Decision
from agents.protocols import ExperienceWriter, Mind
from backtest.engine.cash import CashFlows
from backtest.engine.desk_result import BookRun, EngineLog, book_run, check_end
from backtest.engine.desk_setup import latency_ns, make_desk, native_instruments, observe
from backtest.engine.feed import Feed
from backtest.market.market_data import MarketData
from backtest.market.rules import expiry
from config.settings import LimitSettings, Settings
from strategies.desk import CLIENT
from strategies.ports import SimulatedPort
from strategies.timekeeper import Timekeeper

TRADER = TraderId("QUARTERDECK-001")
# Nautilus denies orders beyond 100 a second, by the clock of the data: a basket of more is sent at
# one stamp. The gate counts orders; the engine is not to.
ORDER_RATE = "1000000/00:00:01"


class SeededFills(FillModel):
    """
    Slips with a probability, from a random stream of its own.

    Nautilus's own model draws from the interpreter's one stream, which any import in mid-run
    may advance; the first run in a process then differed from the second.
    """

    def __init__(self, probability: float, seed: int) -> None:
        super().__init__(prob_slippage=probability, random_seed=seed)
        self._stream = random.Random(seed)

    def is_slipped(self) -> bool:
        """Draw whether a fill slips by one tick."""
        return bool(self._stream.random() < self.prob_slippage)


def run_book(
    market: MarketData,
    feed: Feed,
    settings: Settings,
    mind: Mind,
    *,
    name: str,
    limits: LimitSettings,
    decide_from: int,
    writer: ExperienceWriter | None = None,
    on_session: Callable[[int], None] | None = None,
) -> BookRun:
    """
    Run one mind over a market and return its book.

    `feed` is the market as `make_feed` returns it, so that several books share it;
    `on_session` is told each session's closing stamp (progress).
    Raises RunIncomplete where the run may not be believed.
    """

    def make_port(time: Timekeeper, deliver: Callable[[Decision], None]) -> SimulatedPort:
        return SimulatedPort(
            mind,
            time,
            deliver,
            latency_ns=latency_ns(settings),
            expires=expiry(market.session_closes, settings),
        )

    desk, cash = make_desk(market, settings, mind, limits, make_port, decide_from=decide_from)
    log = EngineLog()
    engine = make_engine(market, settings, cash, log.config)
    try:
        if feed.custom:
            engine.add_data(feed.custom, client_id=CLIENT, sort=False)
        engine.add_data(feed.prices, sort=False)
        engine.sort_data()
        engine.add_strategy(desk)
        records = observe(engine.kernel.msgbus, writer, on_session)
        engine.run(start=run_start(market), end=run_end(market, settings))
        if writer is not None:
            writer.flush()
        log.check()
        check_end(engine.portfolio, desk, market)
        return book_run(desk, market, records, dict(cash.credited), name=name)
    except BaseException:
        if engine.trader.is_running:
            engine.trader.stop()  # not end(): it would fire the alerts that are left
        raise
    finally:
        engine.dispose()


def run_start(market: MarketData) -> int:
    """Return the first stamp of a run: the first session's close is still to come then."""
    return int(market.bars["ts_open"].min()) - 1


def run_end(market: MarketData, settings: Settings) -> int:
    """Return the last stamp of a run: the last decision arrives too."""
    return market.session_closes[-1] + latency_ns(settings)


def make_engine(
    market: MarketData, settings: Settings, cash: CashFlows, logging: LoggingConfig
) -> BacktestEngine:
    """Return an engine with the market's venue and instruments, and no data yet."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            trader_id=TRADER,
            run_analysis=False,
            logging=logging,
            risk_engine=RiskEngineConfig(
                max_order_submit_rate=ORDER_RATE, max_order_modify_rate=ORDER_RATE
            ),
        )
    )
    currency = Currency.from_str(settings.market.currency)
    for venue in sorted({i.venue for i in market.instruments}):
        engine.add_venue(
            Venue(venue),
            OmsType.NETTING,
            AccountType.MARGIN,
            [Money(settings.market.starting_cash, currency)],
            base_currency=currency,
            default_leverage=Decimal(1),
            fill_model=SeededFills(settings.market.slippage_probability, settings.seed),
            modules=[cash],
        )
    kernel = engine.kernel
    kernel.data_engine.register_client(
        BacktestDataClient(CLIENT, msgbus=kernel.msgbus, cache=kernel.cache, clock=kernel.clock)
    )
    for instrument in native_instruments(market, settings):
        engine.add_instrument(instrument)
    return engine
