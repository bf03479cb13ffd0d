"""
Which kind of book a market is, and what its instruments cost to trade.

The kind decides the defaults that no human stated (`config.books`): stops, caps, costs.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from agents.messages import Instrument
from backtest.market.market_data import MarketData
from config.books import BookKind, for_book
from config.costs import FX_COST_BPS, INDEX_COST_BPS, METAL_COST_BPS, OIL_COST_BPS
from config.settings import Settings

MULTI_ASSET = "multi-asset"  # the book that `data.source` may name
FX_MAJORS = frozenset(["EUR", "GBP", "AUD", "NZD", "USD", "CAD", "CHF", "JPY"])
METALS = frozenset({"XAUUSD", "XAGUSD", "XPTUSD", "XPDUSD"})
OILS = frozenset({"WTIUSD", "BRENT", "USOIL", "UKOIL", "BCOUSD", "WTICOUSD"})


def book_kind(market: MarketData, source: str) -> BookKind:
    """
    Return the kind of book that all of a market's instruments make.

    A source that is traded as the multi-asset book is one of contracts, whatever stands in for
    them: its policies are trained under the same rules.
    """
    if source.split(":")[0] == MULTI_ASSET:
        return "contracts"
    equities = [i.asset_class == "equity" for i in market.instruments]
    if not any(equities):
        return "contracts"
    return "daily equities" if all(equities) and market.step_ns == 0 else "other"


def contract_cost_bps(instrument: Instrument) -> float | None:
    """
    Return what a fill of a contract costs, in basis points of notional; None where unknown.

    The numbers, and what they assume, stand in `config.costs`.
    """
    symbol = instrument.symbol.upper()
    if symbol in METALS:
        return METAL_COST_BPS
    if symbol in OILS:
        return OIL_COST_BPS
    if instrument.asset_class == "index":
        return INDEX_COST_BPS
    pair = len(symbol) == 6 and {symbol[:3], symbol[3:]} <= FX_MAJORS
    return FX_COST_BPS if instrument.asset_class == "forex" and pair else None


def as_book(market: MarketData, settings: Settings) -> tuple[MarketData, Settings]:
    """
    Return a market and settings with the defaults of the market's kind of book.

    Contracts without a cost of their own get that of their class, unless `market.cost_frac` was
    stated. Applying it again changes nothing.
    """
    instruments = market.instruments
    american = all(i.currency == "USD" for i in instruments) and market.calendar == "XNYS"
    settings = for_book(
        settings,
        book_kind(market, settings.data.source),
        instruments=len(instruments),
        groups=len({i.group for i in instruments}),
        american=american,
    )
    if "market.cost_frac" in settings.stated:
        return market, settings
    own = tuple(
        msgspec.structs.replace(i, cost_bps=contract_cost_bps(i))
        if i.cost_bps is None and i.asset_class != "equity"
        else i
        for i in instruments
    )
    return (market if own == instruments else replace(market, instruments=own)), settings
