"""
The static facts of instruments that a source need not state: market, sector, currency, tick.

Currency pairs and metals are recognised by their two codes, oil and index CFDs by a small table;
large US-listed companies have their present GICS sector, which a source's own sector file or
source.yaml overrides. Sectors change rarely but do (GOOG and META moved in 2018): the table does
not know when.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agents.messages import AssetClass, Instrument
from backtest.market.sessions import WEEKDAYS, XNYS
from backtest.sources.manifest import InstrumentManifest

VENUE = "SIM"

# symbol -> (asset class, group, quote currency, lot size)
# One unit of base currency is the smallest FX lot that any venue deals, and a hundredth of an
# ounce, barrel or index point keeps a lot below 500 dollars, so that weights are not quantised.
_CONTRACTS: dict[str, tuple[AssetClass, str, str, float]] = {
    "EURUSD": ("forex", "forex", "USD", 1.0),
    "GBPUSD": ("forex", "forex", "USD", 1.0),
    "USDJPY": ("forex", "forex", "JPY", 1.0),
    "XAUUSD": ("commodity", "commodity", "USD", 0.01),
    "WTIUSD": ("commodity", "commodity", "USD", 0.01),
    "BRENT": ("commodity", "commodity", "USD", 0.01),
    "SPX500": ("index", "index", "USD", 0.01),
    "NAS100": ("index", "index", "USD", 0.01),
    "US30": ("index", "index", "USD", 0.01),
}

_METAL_CODES = "XAG XAU XPD XPT"
_CURRENCY_CODES = (
    "AUD BRL CAD CHF CLP CNH CNY COP CZK DKK EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NOK NZD "
    "PEN PHP PLN RON RUB SEK SGD THB TRY TWD USD ZAR"
)
_METALS = frozenset(_METAL_CODES.split())
_CURRENCIES = frozenset(_CURRENCY_CODES.split())

_SECTORS = {
    "Communication Services": (
        "ATVI CHL CHTR CMCSA DIS EA FB GOOG GOOGL META MTCH NFLX NTES SIRI T TMUS VZ"
    ),
    "Consumer Discretionary": (
        "ABNB AMZN BABA BKNG CCL CPRT DLTR EBAY HD JD LOW LULU MAR MCD MELI NKE ORLY PCLN PDD "
        "ROST SBUX TM TSLA"
    ),
    "Consumer Staples": "AGFS BUD COST KDP KHC KO MDLZ MNST MO PEP PG PM UL UN WBA WMT",
    "Energy": "BP CVX IEP PTR RDS-B REX SLB SNP TOT XOM",
    "Financials": "AXP BAC BCH BRK-A BRK-B BSAC C CODI GS HSBC JPM MA PYPL SPLP TRV V WFC",
    "Health Care": (
        "ABBV ALGN AMGN AZN BIIB CELG DHR DXCM GILD IDXX ILMN ISRG JNJ MDT MRK MRNA NVS PFE "
        "REGN SGEN SNY UNH VRTX"
    ),
    "Industrials": ("ABB ADP BA CAT CSX CTAS FAST GD GE HON LMT MMM ODFL PAYX PCAR UPS UTX VRSK"),
    "Information Technology": (
        "AAPL ADBE ADI ADSK AMAT AMD ANSS ASML AVGO CDNS CRM CRWD CSCO CTSH DDOG DOCU ENPH "
        "FTNT IBM INTC INTU KLAC LRCX MCHP MRVL MSFT MU NVDA NXPI ORCL PANW QCOM SNPS SPLK "
        "SWKS TEAM TSM TXN VRSN WDAY ZM ZS"
    ),
    "Materials": "BBL BHP DOW",
    "Real Estate": "AMT GMRE",
    "Utilities": "AEP CEG D DUK EXC NEE NGG PCG PPL SO SRE XEL",
}
SECTOR_OF = {symbol: sector for sector, row in _SECTORS.items() for symbol in row.split()}


def is_contract(symbol: str) -> bool:
    """Tell whether a symbol is a currency pair, a metal or one of the known oils and indices."""
    return _contract(symbol) is not None


def _contract(symbol: str) -> tuple[AssetClass, str, str, float] | None:
    """Return asset class, group, quote currency and lot of what is no stock by its symbol."""
    base, quote = symbol[:3], symbol[3:]
    if symbol in _CONTRACTS or quote not in _CURRENCIES or base == quote:
        return _CONTRACTS.get(symbol)
    if base in _METALS:
        return "commodity", "commodity", quote, 0.01
    return ("forex", "forex", quote, 1.0) if base in _CURRENCIES else None


def make_instrument(
    symbol: str,
    first_price: float,
    sectors: Mapping[str, str],
    asset_class: AssetClass | None = None,
    given: InstrumentManifest | None = None,
) -> Instrument:
    """
    Return an instrument's static facts; `given` wins over `asset_class` and the tables.

    The tick is read off the first price, so that nothing lies in the future of any decision.
    """
    given = given or InstrumentManifest()
    known = _contract(symbol)
    kind = given.asset_class or asset_class or (known[0] if known else "equity")
    if known and known[0] == kind:
        group, currency, lot_size = known[1:]
    elif kind == "equity":
        group = sectors.get(symbol) or SECTOR_OF.get(symbol, "Unknown")
        currency, lot_size = "USD", 1.0
    else:
        currency = symbol[3:6] if kind == "forex" and len(symbol) == 6 else "USD"
        group, lot_size = kind, 1.0 if kind == "forex" else 0.01
    return Instrument(
        symbol=symbol,
        venue=VENUE,
        asset_class=kind,
        group=given.group or group,
        currency=given.currency or currency,
        price_precision=_tick_decimals(first_price, kind)
        if given.precision is None
        else given.precision,
        lot_size=given.lot_size or lot_size,
        cost_bps=given.cost_bps,
        shortable=kind != "equity" if given.shortable is None else given.shortable,
    )


def _tick_decimals(price: float, kind: AssetClass) -> int:
    """
    Return the decimals of the market's tick at a price.

    A stock's are two and a pair's five, or three where it is quoted in yen and the like (from 20
    on), and as many as give four significant digits where the price is low: below $1 that is the
    0.0001 of US markets. Anything else is quoted with six significant digits, as gold to 0.01.
    """
    before = math.floor(math.log10(price)) + 1  # digits before the point
    least, digits = 0, 6
    if kind == "equity":
        least, digits = 2, 4
    elif kind == "forex":
        least, digits = (3 if price >= 20 else 5), 4
    return min(max(least, digits - before), 9)


def printed_decimals(values: NDArray[np.float64], least: int, most: int) -> int:
    """Return the fewest decimals, within the two bounds, that print all values as they are."""
    for decimals in range(least, most):
        rest = np.abs(np.round(values, decimals) - values)
        if bool((rest <= 1e-12 * (1 + np.abs(values))).all()):
            return decimals
    return most


def class_of(symbol: str) -> AssetClass:
    """Return the class that a symbol is taken for."""
    known = _contract(symbol)
    if known is not None:
        return known[0]
    return "index" if symbol.startswith("^") else "equity"


def calendar_of(symbol: str, given: AssetClass | None = None) -> str:
    """Return the calendar that a symbol trades in; `given` is the class that was stated."""
    listed = (given or class_of(symbol)) == "equity" or symbol.startswith("^")
    return XNYS if listed else WEEKDAYS


def needs_volume(symbol: str, given: AssetClass | None = None) -> bool:
    """Tell whether bars of a symbol without volume are no bars."""
    return (given or class_of(symbol)) == "equity"
