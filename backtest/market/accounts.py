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
from backtest.market.rules import IDLE_DOLLARS, rate_source
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
    a note of it, first. What dollars earn is no note of another account. Applying it again changes
    nothing.
    """
    quoted = {i.currency for i in market.instruments}
    account, notes = settings.market, list(market.notes)
    stated = "market.currency" in settings.stated
    if not stated and len(quoted) == 1 and not _has_rates(market, quoted, account.currency):
        (currency,) = quoted
        cash = account.starting_cash
        if "market.starting_cash" not in settings.stated:
            cash = usual_cash(currency)
        account = msgspec.structs.replace(account, currency=currency, starting_cash=cash)
        settings = msgspec.structs.replace(settings, market=account)
        notes.insert(
            0, f"{ACCOUNTED}{currency}, from {cash:,.12g}: all instruments are quoted in it"
        )
    if account.currency != "USD":
        notes = [note for note in notes if not note.startswith(IDLE_DOLLARS)]
    notes += _assumed(market)
    return replace(market, notes=tuple(notes)), settings


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
