"""
Our instruments and bars in Nautilus's terms, and the universe that a desk trades.

Equities become Equity, FX pairs and metals CurrencyPair, the rest Cfd. Margins are zero: the
venue checks none before a trade anyway, and the risk gate is ours.
"""

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model.data import BarSpecification, BarType
from nautilus_trader.model.enums import AggregationSource, AssetClass, BarAggregation, PriceType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Cfd, CurrencyPair, Equity
from nautilus_trader.model.instruments import Instrument as NautilusInstrument
from nautilus_trader.model.objects import Currency, Price, Quantity

from agents.arrays import FloatArray
from agents.messages import Instrument
from config.errors import ConfigError

_ASSET_CLASSES = {"index": AssetClass.INDEX, "commodity": AssetClass.COMMODITY}
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


def size_precision(instrument: Instrument) -> int:
    """Return the decimals of the instrument's lot: those of its orders and its bars' volumes."""
    if instrument.asset_class == "equity":
        return 0
    exponent = Decimal(str(instrument.lot_size)).normalize().as_tuple().exponent
    return max(0, -int(exponent))


def to_nautilus(
    instrument: Instrument, *, cost_frac: float, tick: float | None = None, ts: int = 0
) -> NautilusInstrument:
    """
    Return the Nautilus instrument, as it is from `ts` on.

    `cost_frac` is the fee per fill as a fraction of notional where the instrument has none of its
    own; `tick` is what a market order slips by, by default the instrument's. Prices are finer
    than ticks, so that no split and no spread is rounded to them. Raises ConfigError for an equity
    dealt in fractions or an unknown currency.
    """
    tick = 10.0**-instrument.price_precision if tick is None else tick
    fee = cost_frac if instrument.cost_bps is None else instrument.cost_bps / 10_000
    places = size_precision(instrument)
    if instrument.asset_class == "equity" and instrument.lot_size != int(instrument.lot_size):
        raise ConfigError(
            f"expected a whole lot_size for {instrument.symbol}, was {instrument.lot_size:g}"
        )
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
    if instrument.asset_class == "equity":
        return Equity(currency=_currency(instrument.currency), **common)
    sized = {"size_precision": places, "size_increment": lot}
    base = _pair_base(instrument)
    if base is not None:
        return CurrencyPair(
            base_currency=base,
            quote_currency=_currency(instrument.currency),
            **sized,
            **common,
        )
    return Cfd(
        asset_class=_ASSET_CLASSES.get(instrument.asset_class, AssetClass.FX),
        quote_currency=_currency(instrument.currency),
        **sized,
        **common,
    )


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


def _pair_base(instrument: Instrument) -> Currency | None:
    symbol, quote = instrument.symbol, instrument.currency
    if instrument.asset_class not in ("forex", "commodity") or len(symbol) != 6:
        return None
    if not symbol.endswith(quote):
        return None
    base: Currency | None = Currency.from_internal_map(symbol[:3])
    return base


def _currency(code: str) -> Currency:
    currency = Currency.from_internal_map(code)
    if currency is None:
        raise ConfigError(f"expected a currency code that Nautilus knows, was {code!r}")
    return currency
