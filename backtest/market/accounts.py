"""
Chooses the currency that a run is accounted in.

It is `market.currency` where a human stated it, or where every instrument is quoted in it or has
an exchange rate among the instruments. Else the instruments' own, where they have one in common.
A market of several currencies without their rates is left as it is, for
`backtest.market.tradable` to refuse.
"""

from dataclasses import replace

import msgspec

from backtest.market.market_data import MarketData
from backtest.market.rules import rate_source
from config.currencies import usual_cash
from config.errors import DataError
from config.listings import listing_of
from config.settings import Settings

ACCOUNTED = "accounted in "  # how the note begins


def with_account(market: MarketData, settings: Settings) -> tuple[MarketData, Settings]:
    """
    Return a market and settings whose account is in a currency that the market can be traded in.

    An account in another currency than the default starts with what is usual in it
    (`config.currencies.usual_cash`), unless `market.starting_cash` was stated, and the market has
    a note of it, first. Applying it again changes nothing.
    """
    market = replace(market, notes=(*market.notes, *_assumed(market)))
    quoted = {i.currency for i in market.instruments}
    stated = "market.currency" in settings.stated
    if stated or len(quoted) != 1 or _has_rates(market, quoted, settings.market.currency):
        return market, settings
    (currency,) = quoted
    cash = settings.market.starting_cash
    if "market.starting_cash" not in settings.stated:
        cash = usual_cash(currency)
    account = msgspec.structs.replace(settings.market, currency=currency, starting_cash=cash)
    note = f"{ACCOUNTED}{currency}, from {cash:,.12g}: all instruments are quoted in it"
    return (
        replace(market, notes=(note, *market.notes)),
        msgspec.structs.replace(settings, market=account),
    )


def _has_rates(market: MarketData, quoted: set[str], account: str) -> bool:
    """Tell whether each currency has a value in the account's."""
    try:
        for currency in quoted:
            rate_source(market, currency, account)
    except DataError:
        return False
    return True


def _assumed(market: MarketData) -> list[str]:
    """Return a note of the indices whose currency is a guess."""
    guessed = [
        i.symbol
        for i in market.instruments
        if i.symbol.startswith("^") and i.currency == "USD" and listing_of(i.symbol) is None
    ]
    note = (
        f"{', '.join(guessed)}: unknown indices, taken for quoted in USD; source.yaml can state "
        "currency and calendar"
    )
    return [note] if guessed and note not in market.notes else []
