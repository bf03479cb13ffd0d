"""
Our instruments and bars in Nautilus's terms, and the universe that a desk trades.

Equities become Equity, pairs of currencies, metals and coins CurrencyPair, the rest Cfd, stocks
dealt in fractions too, for an Equity is whole. Margins are zero: the venue checks none before a
trade anyway, and the risk gate is ours. Currencies that Nautilus lacks (pence, most coins) are
made known to it where they are first met.
"""

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model.data import BarSpecification, BarType
from nautilus_trader.model.enums import (
    AggregationSource,
    AssetClass,
    BarAggregation,
    CurrencyType,
    PriceType,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Cfd, CurrencyPair, Equity
from nautilus_trader.model.instruments import Instrument as NautilusInstrument
from nautilus_trader.model.objects import Currency, Price, Quantity

from agents.arrays import FloatArray
from agents.messages import Instrument
from config.currencies import COINS, CURRENCIES, METALS, STABLE_COINS, decimals_of
from config.errors import ConfigError

_ASSET_CLASSES = {
    "equity": AssetClass.EQUITY,
    "forex": AssetClass.FX,
    "commodity": AssetClass.COMMODITY,
    "index": AssetClass.INDEX,
    "crypto": AssetClass.CRYPTOCURRENCY,
}
_STEPS = (
    (3_600_000_000_000, 24, BarAggregation.HOUR),
    (60_000_000_000, 60, BarAggregation.MINUTE),
    (1_000_000_000, 60, BarAggregation.SECOND),
)


@dataclass(frozen=True)
class Universe:
    """
    What the desk trades: instruments sorted by symbol, each beside its Nautilus identity.

    `rate_sources[i]` is the index of the pair that turns the quote currency of `i` into the
    account's, and whether it is to be inverted; None where they are the same. `cost_frac` (N,) is
    one fill's commission, `session_closes` the closing stamps at which the desk wakes.
    """

    instruments: tuple[Instrument, ...]
    ids: tuple[InstrumentId, ...]
    bar_types: tuple[BarType, ...]
    cost_frac: FloatArray
    rate_sources: tuple[tuple[int, bool] | None, ...]
    session_closes: tuple[int, ...]


def instrument_id(instrument: Instrument) -> InstrumentId:
    """Return the Nautilus id of an instrument, SYMBOL.VENUE."""
    return InstrumentId(Symbol(instrument.symbol), Venue(instrument.venue))


def to_nautilus(
    instrument: Instrument, *, cost_frac: float, tick: float | None = None, ts: int = 0
) -> NautilusInstrument:
    """
    Return the Nautilus instrument, as it is from `ts` on.

    `cost_frac` is the fee per fill as a fraction of notional where the instrument has none of its
    own; `tick` is what a market order slips by, by default the instrument's. Prices are finer
    than ticks, so that no split and no spread is rounded to them. Raises ConfigError for an
    unknown currency.
    """
    tick = 10.0**-instrument.price_precision if tick is None else tick
    fee = cost_frac if instrument.cost_bps is None else instrument.cost_bps / 10_000
    places = instrument.size_precision
    lot = Quantity(instrument.lot_size, places)
    common = {
        "instrument_id": instrument_id(instrument),
        "raw_symbol": Symbol(instrument.symbol),
        "price_precision": instrument.engine_precision,
        "price_increment": Price(tick, instrument.engine_precision),
        "lot_size": lot,
        "margin_init": Decimal(0),
        "margin_maint": Decimal(0),
        "maker_fee": Decimal(str(fee)),
        "taker_fee": Decimal(str(fee)),
        "ts_event": ts,
        "ts_init": ts,
    }
    quote = to_currency(instrument.currency)
    if instrument.asset_class == "equity" and not places:
        return Equity(currency=quote, **common)
    sized = {"size_precision": places, "size_increment": lot, "quote_currency": quote}
    base = instrument.pair[0] if instrument.pair else ""
    if _is_known(base):
        return CurrencyPair(base_currency=to_currency(base), **sized, **common)
    return Cfd(asset_class=_ASSET_CLASSES[instrument.asset_class], **sized, **common)


def bar_type(instrument: Instrument, step_ns: int) -> BarType:
    """
    Return the type of the instrument's bars; `step_ns` 0 is a session, 1-DAY-LAST-EXTERNAL.

    Raises ConfigError for a step that is no whole number of seconds, minutes or hours, or that
    does not divide the next larger unit.
    """
    spec = BarSpecification(1, BarAggregation.DAY, PriceType.LAST)
    if step_ns:
        for unit, most, aggregation in _STEPS:
            count, rest = divmod(step_ns, unit)
            if count and not rest and count < most and most % count == 0:
                spec = BarSpecification(count, aggregation, PriceType.LAST)
                break
        else:
            raise ConfigError(
                "expected bars whose seconds, minutes or hours divide the next larger unit, "
                f"was {step_ns / 1e9:g} seconds"
            )
    return BarType(instrument_id(instrument), spec, AggregationSource.EXTERNAL)


def to_currency(code: str) -> Currency:
    """
    Return the Nautilus currency of a code, made known to Nautilus where it was not.

    Raises ConfigError for a code that neither Nautilus nor `config.currencies` knows.
    """
    currency = Currency.from_internal_map(code)
    if currency is None:
        if not _is_known(code):
            raise ConfigError(f"expected a currency code that is known, was {code!r}")
        kind = CurrencyType.CRYPTO if code in COINS | STABLE_COINS else CurrencyType.FIAT
        currency = Currency(code, decimals_of(code), 0, code, kind)
        Currency.register(currency)
    return currency


def _is_known(code: str) -> bool:
    if Currency.from_internal_map(code) is not None:
        return True
    return code in CURRENCIES | METALS | COINS | STABLE_COINS
