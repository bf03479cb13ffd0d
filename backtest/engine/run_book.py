"""
Runs one book through the Nautilus engine: data in, the desk in the middle, its records out.

Every run builds its own engine, so that nothing is carried over; a run that did not go to its
end, or not without an error, fails as `backtest.engine.desk_result` says.
"""

import random
from collections.abc import Callable
from decimal import Decimal

from nautilus_trader.backtest.data_client import BacktestDataClient
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import TraderId, Venue
from nautilus_trader.model.objects import Money

from agents.messages import Decision
from agents.protocols import ExperienceWriter, Mind
from backtest.engine.book_spec import BookSpec
from backtest.engine.cash import CashFlows
from backtest.engine.desk_result import BookRun, EngineLog, book_run, check_end
from backtest.engine.desk_setup import make_desk, native_instruments, observe
from backtest.engine.feed import Feed
from backtest.market.market_data import MarketData
from config.settings import Settings
from strategies.desk import CLIENT
from strategies.instruments import to_currency
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
    spec: BookSpec,
    mind: Mind,
    *,
    writer: ExperienceWriter | None = None,
    on_session: Callable[[int], None] | None = None,
) -> BookRun:
    """
    Run one mind over a book's market and return the book.

    `on_session` is called with each session's closing stamp (progress).
    Raises DataError where the market cannot be traded, RunIncomplete where the run may not be
    believed.
    """
    market, feed = spec.market, spec.feed

    def make_port(time: Timekeeper, deliver: Callable[[Decision], None]) -> SimulatedPort:
        return SimulatedPort(mind, time, deliver, latency_ns=spec.latency_ns, expires=spec.expires)

    desk, cash = make_desk(spec, make_port)
    log = EngineLog()
    engine = make_engine(market, spec.settings, cash, log.config)
    try:
        load(engine, feed)
        engine.add_strategy(desk)
        records = observe(engine.kernel.msgbus, writer, on_session)
        engine.run(start=spec.start, end=spec.end)
        if writer is not None:
            writer.flush()
        log.check()
        check_end(engine.portfolio, desk, market)
        return book_run(desk, market, records, dict(cash.credited), name=spec.name)
    except BaseException:
        if engine.trader.is_running:
            engine.trader.stop()  # not end(): it would fire the alerts that are left
        raise
    finally:
        engine.dispose()


def load(engine: BacktestEngine, feed: Feed) -> None:
    """Give an engine what it is to be fed, in the order of its stamps."""
    if feed.custom:
        engine.add_data(feed.custom, client_id=CLIENT, sort=False)
    engine.add_data(feed.prices, sort=False)
    engine.sort_data()


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
    currency = to_currency(settings.market.currency)
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
