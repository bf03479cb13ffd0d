"""
The federal funds rate, which idle cash earns where a source names no risk-free rate.

A month's mean rate is known and counts from the next month on. After the table's end its last
rate is held for a year, then cash earns nothing. Only accounts in dollars earn it
(`backtest.market.rules.risk_free_rates`); the features do not see it.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from agents.messages import MacroValue
from backtest.market.market_data import MACRO_HISTORY_NS, MarketData, canonical
from backtest.market.rules import FEDERAL_FUNDS, IDLE_DOLLARS, RISK_FREE
from backtest.market.sessions import DAY_NS

TABLE = Path(__file__).with_name("federal_funds.csv")
HELD_MONTHS = 12


def with_federal_funds(market: MarketData) -> MarketData:
    """Return the market, in canonical order; without a risk-free rate it gets these rates."""
    if any(m.series == RISK_FREE for m in market.macro):
        return canonical(market)
    first, last = market.session_closes[0], market.session_closes[-1]
    values = federal_funds()
    known = tuple(m for m in values if first - MACRO_HISTORY_NS < m.ts_init <= last)
    note = f"{IDLE_DOLLARS} earns the federal funds rate (FRED FEDFUNDS) of the month before"
    if last >= values[-2].ts_init + 31 * DAY_NS:
        note += (
            f"; the table ends with {_month(values[-2])}, its last rate is held for {HELD_MONTHS} "
            "months, then cash earns nothing"
        )
    if first < values[0].ts_init:
        note += f"; before {_month(values[1])} it earns nothing"
    return canonical(replace(market, macro=(*market.macro, *known), notes=(*market.notes, note)))


@cache
def federal_funds() -> tuple[MacroValue, ...]:
    """Return the table's rates, percent a year, and the zero that ends them, oldest first."""
    rows = [line.split(",") for line in TABLE.read_text().splitlines() if line[:1].isdigit()]
    rates = [(int(np.datetime64(month, "M").astype(int)), float(rate)) for month, rate in rows]
    end = rates[-1][0] + HELD_MONTHS
    return tuple(
        MacroValue(
            series=FEDERAL_FUNDS, ts_event=_start(month), ts_init=_start(month + 1), value=rate
        )
        for month, rate in (*rates, (end, 0.0))
    )


def _start(month: int) -> int:
    """Return the first stamp of a month, counted from 1970-01."""
    return int(np.datetime64(month, "M").astype("M8[D]").astype(int)) * DAY_NS


def _month(value: MacroValue) -> str:
    return str(np.datetime64(value.ts_event, "ns").astype("M8[M]"))
