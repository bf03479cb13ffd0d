"""
One book through the Nautilus engine: data in, the desk in the middle, a `Book` and records out.

Every run builds its own engine, so that nothing is carried over. A run fails, never quietly, if
the engine logged an error, if its last processed stamp falls short of the data's, or if the
desk's ledger and Nautilus's positions differ.
"""

from __future__ import annotations

import atexit
import math
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.backtest.data_client import BacktestDataClient
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.common.component import flush_logger, sync_logger_to_disk
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import TraderId, Venue
from nautilus_trader.model.objects import Currency, Money

from agents.features import FeatureEngine
from agents.juniors.lexicon import sentiment
from agents.messages import Message
from agents.protocols import ExperienceWriter, Mind
from backtest.cash import CashFlows
from backtest.feed import Feed, split_factors
from backtest.market import MarketData
from backtest.results import Book, ClosedTrade
from config.errors import DataError, RunIncomplete
from config.settings import LimitSettings, Settings
from strategies.desk import CLIENT, Desk, Universe
from strategies.instruments import bar_type, to_nautilus
from strategies.ports import SimulatedPort
from strategies.recorder import SESSION_TOPIC, TOPIC, Recorder
from strategies.risk import Gate

MS = 1_000_000
SESSION_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Records:
    """Everything that was published, by message type and in order."""

    by_type: dict[type[Message], list[Message]] = field(default_factory=lambda: defaultdict(list))

    def take(self, message: Message) -> None:
        """Keep one message."""
        self.by_type[type(message)].append(message)

    def of[M: Message](self, kind: type[M]) -> tuple[M, ...]:
        """Return all messages of one type, in order."""
        return tuple(self.by_type[kind])  # type: ignore[arg-type]  # keyed by their own type


@dataclass(frozen=True)
class BookRun:
    """One book's history and records, and what the run must say about it."""

    book: Book
    records: Records
    cash_flows: dict[str, float]
    dropped_decisions: int
    unpriced_routes: int
    open_routes: int


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
    gated: bool,
    decide_from: int,
    writer: ExperienceWriter | None = None,
    on_session: Callable[[int], None] | None = None,
) -> BookRun:
    """
    Run one mind over a market and return its book.

    `feed` is the market as `make_feed` returns it, so that several books share it;
    `on_session` is told each session's closing stamp (progress).
    Raises RunIncomplete as the module says.
    """
    universe = _universe(market, settings)
    gate = Gate(market.instruments, limits)
    features = FeatureEngine(
        market.instruments,
        price_basis=market.price_basis,
        score=sentiment,
        panel_sessions=settings.desk.panel_sessions,
    )

    latency_ns = int(settings.desk.latency_ms * MS)

    def make_port(clock: Any, deliver: Callable[[Any], None]) -> SimulatedPort:
        return SimulatedPort(
            mind,
            clock,
            deliver,
            latency_ns=latency_ns,
            expiry_ns=settings.desk.expiry_sessions * SESSION_NS,
        )

    desk = Desk(
        universe,
        settings,
        mind,
        gate,
        features,
        make_port,
        decide_from=decide_from,
    )
    cash = _cash_flows(market, settings, desk, decide_from)
    log = _engine_log()
    flush_logger()
    already = log.stat().st_size if log.exists() else 0
    engine = _engine(market, settings, cash, log)
    try:
        if feed.custom:
            engine.add_data(feed.custom, client_id=CLIENT, sort=False)
        engine.add_data(feed.prices, sort=False)
        engine.sort_data()
        engine.add_strategy(desk)
        records = Records()
        bus = engine.kernel.msgbus
        bus.subscribe(TOPIC, records.take)
        if writer is not None:
            Recorder(bus, writer)
        if on_session is not None:
            bus.subscribe(SESSION_TOPIC, on_session)
        engine.run(end=market.session_closes[-1] + latency_ns)  # the last decision arrives too
        if writer is not None:
            writer.flush()
        _check(engine, desk, market, log, already)
        return BookRun(
            book=_book(desk, market, name, gated),
            records=records,
            cash_flows=dict(cash.credited),
            dropped_decisions=desk.dropped_decisions,
            unpriced_routes=desk.outcomes.unpriced,
            open_routes=desk.outcomes.open_routes,
        )
    except BaseException:
        if engine.trader.is_running:
            engine.trader.stop()  # not end(): it would fire the alerts that are left
        raise
    finally:
        engine.dispose()


@cache
def _engine_log() -> Path:
    """Return the file that Nautilus logs errors to; its logger is one for the whole process."""
    folder = Path(tempfile.mkdtemp(prefix="quarterdeck-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "engine.log"


def _engine(market: MarketData, settings: Settings, cash: CashFlows, log: Path) -> BacktestEngine:
    engine = BacktestEngine(
        BacktestEngineConfig(
            trader_id=TraderId("QUARTERDECK-001"),
            run_analysis=False,
            logging=LoggingConfig(
                log_level="OFF",
                log_level_file="ERROR",
                log_directory=str(log.parent),
                log_file_name=log.stem,
                log_colors=False,
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
    for instrument in market.instruments:
        engine.add_instrument(to_nautilus(instrument, cost_frac=settings.market.cost_frac))
    return engine


def _universe(market: MarketData, settings: Settings) -> Universe:
    if len({i.venue for i in market.instruments}) != 1:
        raise DataError("expected all instruments on one venue, was several")
    natives = [to_nautilus(i, cost_frac=settings.market.cost_frac) for i in market.instruments]
    return Universe(
        instruments=market.instruments,
        ids=tuple(native.id for native in natives),
        bar_types=tuple(bar_type(i, market.step_ns) for i in market.instruments),
        cost_frac=np.array(
            [
                settings.market.cost_frac if i.cost_bps is None else i.cost_bps / 1e4
                for i in market.instruments
            ]
        ),
        rate_sources=tuple(
            _rate_source(market, i.currency, settings.market.currency) for i in market.instruments
        ),
        session_closes=market.session_closes,
    )


def _rate_source(market: MarketData, quote: str, account: str) -> tuple[int, bool] | None:
    """Return where to read the value of `quote` in `account`: a pair's index, inverted or not."""
    if quote == account:
        return None
    for i, symbol in enumerate(market.symbols):
        if symbol in (quote + account, account + quote):
            return i, symbol == account + quote
    raise DataError(
        f"expected {quote}{account} or {account}{quote} among the instruments, so that {quote} "
        f"has a rate, was {', '.join(market.symbols)}"
    )


def _cash_flows(market: MarketData, settings: Settings, desk: Desk, accrue_from: int) -> CashFlows:
    index = {symbol: i for i, symbol in enumerate(market.symbols)}
    splits = split_factors(market)
    dividends = []
    columns = (market.actions[c].tolist() for c in ("ts", "symbol", "dividend"))
    for ts, symbol, dividend in zip(*columns, strict=True):
        if dividend > 0:
            stamps, cumulative = splits.get(symbol, (np.zeros(0, np.int64), np.ones(0)))
            before = int(np.searchsorted(stamps, ts, side="left"))
            factor = float(cumulative[before - 1]) if before else 1.0
            dividends.append((ts, index[symbol], dividend * factor))
    return CashFlows(
        desk.ledger,
        settings.market.currency,
        dividends=dividends,
        rates=[(m.ts_init, m.value) for m in market.macro if m.series == "risk_free"],
        funded=np.array([i.asset_class == "equity" for i in market.instruments]),
        financing_frac=settings.market.financing_bps_per_year / 1e4,
        session_closes=market.session_closes,
        accrue_from=accrue_from,
    )


def _check(
    engine: BacktestEngine, desk: Desk, market: MarketData, log: Path, already: int
) -> None:
    flush_logger()
    sync_logger_to_disk()
    if log.exists():
        with log.open("rb") as file:
            file.seek(already)
            lines = file.read().decode(errors="replace").splitlines()
        if lines:
            raise RunIncomplete(f"expected no engine error, was {len(lines)}: {lines[0]}")
    last = int(market.bars["ts_close"].iloc[-1])
    if desk.last_ts < last:
        raise RunIncomplete(f"expected the run to reach {last}, was stopped at {desk.last_ts}")
    for i, instrument_id in enumerate(desk.universe.ids):
        position = float(engine.portfolio.net_position(instrument_id))
        if not math.isclose(position, desk.ledger.quantity[i], rel_tol=1e-9, abs_tol=1e-9):
            raise RunIncomplete(
                f"expected {desk.ledger.quantity[i]} {instrument_id} as booked, was {position}"
            )


def _book(desk: Desk, market: MarketData, name: str, gated: bool) -> Book:
    history = desk.history
    n = len(market.instruments)
    weights = np.array(history.weights).reshape(-1, n)
    groups = sorted({i.group for i in market.instruments})
    of_group = np.array([[i.group == g for g in groups] for i in market.instruments], float)
    exposure = weights @ of_group
    return Book(
        name=name,
        gated=gated,
        ts=np.array(history.ts, dtype=np.int64),
        equity=np.array(history.equity),
        gross=np.abs(weights).sum(axis=1),
        turnover=np.array(history.turnover),
        costs=np.array(history.costs),
        var_frac=np.array(history.var_frac),
        exposures={g: exposure[:, k] for k, g in enumerate(groups)},
        trades=tuple(
            ClosedTrade(market.symbols[t.index], t.ts_open, t.ts_close, t.profit)
            for t in desk.ledger.trips
        ),
    )
