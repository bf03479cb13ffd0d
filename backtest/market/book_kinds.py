"""
Which kind of book a market is, and what its instruments cost to trade.

The kind decides the defaults that no human stated (`config.books`): stops, caps, costs.
"""

from dataclasses import replace

import msgspec

from agents.messages import Instrument
from backtest.market.market_data import MarketData
from config.books import BookKind, for_book
from config.costs import (
    CRYPTO_COST_BPS,
    FX_COST_BPS,
    FX_OTHER_COST_BPS,
    INDEX_COST_BPS,
    METAL_COST_BPS,
    OIL_COST_BPS,
)
from config.currencies import METALS, pair_of
from config.listings import is_energy
from config.settings import Settings

MULTI_ASSET = "multi-asset"  # the book that `data.source` may name
FX_MAJORS = frozenset(["EUR", "GBP", "AUD", "NZD", "USD", "CAD", "CHF", "JPY"])


def book_kind(market: MarketData, source: str) -> BookKind:
    """
    Return the kind of book that all of a market's instruments make.

    A source that is traded as the multi-asset book is one of contracts, whatever stands in for
    them: its policies are trained under the same rules. Stocks and coins make a daily book one of
    daily equities, whatever indices and contracts stand beside them.
    """
    if source.split(":")[0] == MULTI_ASSET:
        return "contracts"
    if not any(i.funded for i in market.instruments):
        return "contracts"
    return "daily equities" if market.step_ns == 0 else "other"


def contract_cost_bps(instrument: Instrument) -> float | None:
    """
    Return what a fill of anything but a stock costs, in basis points of notional.

    None where it is not known: for commodities that are no metal and no energy. How a symbol is
    spelt does not matter. The numbers, and what they assume, stand in `config.costs`.
    """
    if instrument.asset_class == "crypto":
        return CRYPTO_COST_BPS
    if instrument.asset_class == "index":
        return INDEX_COST_BPS
    pair = pair_of(instrument.symbol)
    if instrument.asset_class == "forex":
        return FX_COST_BPS if pair and set(pair) <= FX_MAJORS else FX_OTHER_COST_BPS
    if pair and pair[0] in METALS:
        return METAL_COST_BPS
    return OIL_COST_BPS if is_energy(instrument.symbol) else None


def as_book(market: MarketData, settings: Settings) -> tuple[MarketData, Settings]:
    """
    Return a market and settings with the defaults of the market's kind of book.

    Coins and contracts without a cost of their own get that of their class, unless
    `market.cost_frac` was stated. Applying it again changes nothing.
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
