"""
Sets up a desk for its venue, the same for a backtest and a replayed paper session.

The universe, the gate, the features, the cash flows and the observers of a book are made here,
once, so that an engine and a node differ in what drives the desk and in nothing else.
"""

from collections.abc import Callable
from typing import Any

from nautilus_trader.common.component import Clock
from nautilus_trader.model.instruments import Instrument as NautilusInstrument

from agents.features.feature_engine import FeatureEngine
from agents.juniors.lexicon import sentiment
from agents.protocols import ExperienceWriter
from backtest.engine.book_spec import BookSpec
from backtest.engine.cash import CashFlows
from backtest.engine.desk_result import Records
from backtest.market.market_data import MarketData
from backtest.market.rules import (
    dividends_paid,
    fee_fracs,
    funded,
    rate_source,
    risk_free_rates,
    sized,
)
from config.settings import Settings
from strategies.desk import Desk, MakePort
from strategies.instruments import Universe, bar_type, to_nautilus
from strategies.recorder import SESSION_TOPIC, TOPIC, Recorder
from strategies.risk import Gate
from strategies.timekeeper import EngineTime, Timekeeper


def make_desk(
    spec: BookSpec, make_port: MakePort, make_time: Callable[[Clock], Timekeeper] = EngineTime
) -> tuple[Desk, CashFlows]:
    """Return a book's desk beside what its venue pays and charges."""
    market, settings = spec.market, spec.settings
    desk = Desk(
        _universe(market, settings),
        settings,
        Gate(
            market.instruments,
            spec.limits,
            sized=sized(market),
            year=market.sessions_per_year,
        ),
        FeatureEngine(
            market.instruments,
            price_basis=market.price_basis,
            score=sentiment,
            panel_sessions=settings.desk.panel_sessions,
        ),
        make_port,
        decide_from=spec.decide_from,
        make_time=make_time,
    )
    return desk, _cash_flows(market, settings, desk, spec.decide_from)


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
    natives = native_instruments(market, settings)
    return Universe(
        instruments=market.instruments,
        ids=tuple(native.id for native in natives),
        bar_types=tuple(bar_type(i, market.step_ns) for i in market.instruments),
        cost_frac=fee_fracs(market, settings.market),
        rate_sources=tuple(
            rate_source(market, i.currency, settings.market.currency) for i in market.instruments
        ),
        session_closes=market.session_closes,
    )


def _cash_flows(market: MarketData, settings: Settings, desk: Desk, accrue_from: int) -> CashFlows:
    return CashFlows(
        desk.ledger,
        settings.market.currency,
        dividends=dividends_paid(market),
        rates=risk_free_rates(market, settings.market.currency),
        funded=funded(market),
        financing_frac=settings.market.financing_bps_per_year / 1e4,
        session_closes=market.session_closes,
        accrue_from=accrue_from,
    )
