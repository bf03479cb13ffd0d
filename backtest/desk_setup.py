"""
A desk ready for its venue: what a backtest and a replayed paper session set up alike.

The universe, the gate, the features, the cash flows and the observers of a book are made here,
once, so that an engine and a node differ in what drives the desk and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nautilus_trader.common.component import Clock
from nautilus_trader.model.instruments import Instrument as NautilusInstrument

from agents.features import FeatureEngine
from agents.juniors.lexicon import sentiment
from agents.protocols import ExperienceWriter, Mind
from backtest.cash import CashFlows
from backtest.desk_result import Records
from backtest.feed import split_factors
from backtest.market import MarketData
from config.errors import DataError
from config.settings import LimitSettings, Settings
from strategies.desk import Desk, MakePort, Universe
from strategies.instruments import bar_type, to_nautilus
from strategies.recorder import SESSION_TOPIC, TOPIC, Recorder
from strategies.risk import Gate
from strategies.timekeeper import EngineTime, Timekeeper

MS = 1_000_000
SESSION_NS = 86_400_000_000_000


def latency_ns(settings: Settings) -> int:
    """Return how long after its case a decision is delivered."""
    return int(settings.desk.latency_ms * MS)


def expiry_ns(settings: Settings) -> int:
    """Return how long after its delivery a decision may be acted on."""
    return settings.desk.expiry_sessions * SESSION_NS


def make_desk(
    market: MarketData,
    settings: Settings,
    mind: Mind,
    limits: LimitSettings,
    make_port: MakePort,
    *,
    decide_from: int,
    make_time: Callable[[Clock], Timekeeper] = EngineTime,
) -> tuple[Desk, CashFlows]:
    """Return a book's desk beside what its venue pays and charges."""
    desk = Desk(
        _universe(market, settings),
        settings,
        mind,
        Gate(market.instruments, limits),
        FeatureEngine(
            market.instruments,
            price_basis=market.price_basis,
            score=sentiment,
            panel_sessions=settings.desk.panel_sessions,
        ),
        make_port,
        decide_from=decide_from,
        make_time=make_time,
    )
    return desk, _cash_flows(market, settings, desk, decide_from)


def native_instruments(market: MarketData, settings: Settings) -> list[NautilusInstrument]:
    """Return the instruments as Nautilus takes them, with their fees."""
    cost = settings.market.cost_frac
    return [to_nautilus(instrument, cost_frac=cost) for instrument in market.instruments]


def observe(
    bus: Any, writer: ExperienceWriter | None, on_session: Callable[[int], None] | None
) -> Records:
    """Subscribe to what a desk publishes on a message bus; return what will hold its records."""
    records = Records()
    bus.subscribe(TOPIC, records.take)
    if writer is not None:
        Recorder(bus, writer)
    if on_session is not None:
        bus.subscribe(SESSION_TOPIC, on_session)
    return records


def _universe(market: MarketData, settings: Settings) -> Universe:
    if len({i.venue for i in market.instruments}) != 1:
        raise DataError("expected all instruments on one venue, was several")
    natives = native_instruments(market, settings)
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
