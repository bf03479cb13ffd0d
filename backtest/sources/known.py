"""
The static facts of instruments that a source need not state: market, sector, currency, tick.

What a symbol is - a pair, a coin, a CFD, an index, a stock of an exchange - is told from its
spelling by `config.currencies` and `config.listings`; large US-listed companies have their present
GICS sector, which a source's own sector file or source.yaml overrides. Sectors change rarely but
do (GOOG and META moved in 2018): the table does not know when.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agents.messages import AssetClass, Instrument
from backtest.market.sessions import EVERY_DAY, WEEKDAYS
from backtest.sources.manifest import InstrumentManifest
from config.currencies import CURRENCIES, MINOR_UNITS, kind_of_pair, pair_of, usual_cash
from config.listings import CURRENCY_OF, NEW_YORK, cfd_of, listing_of

VENUE = "SIM"
FINEST_LOT = -6  # a power of ten, of a coin

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


def class_of(symbol: str) -> AssetClass:
    """Return what a symbol names, a stock where nothing else is told from its spelling."""
    if symbol.strip().startswith("^"):
        return "index"
    if listing_of(symbol) is not None:
        return "equity"
    cfd, pair = cfd_of(symbol), pair_of(symbol)
    if cfd is not None:
        return cfd[0]
    return "equity" if pair is None else kind_of_pair(*pair)


def calendar_of(symbol: str, given_class: AssetClass | None = None) -> str:
    """
    Return the calendar that a symbol trades: its exchange's, "24/7" of coins, "24x5" of the rest.

    A stock or an index of which no exchange is known has New York's; `given_class` wins over the
    symbol.
    """
    kind = given_class or class_of(symbol)
    if kind == "crypto":
        return EVERY_DAY
    listed = kind == "equity" or symbol.strip().startswith("^")
    return (listing_of(symbol) or NEW_YORK)[0] if listed else WEEKDAYS


def currency_of(symbol: str) -> str:
    """Return the currency that a symbol is quoted in, dollars where its spelling tells none."""
    if class_of(symbol) == "equity" or symbol.strip().startswith("^"):
        return (listing_of(symbol) or NEW_YORK)[1]
    told = cfd_of(symbol) or pair_of(symbol)
    assert told is not None  # or it would be a stock
    return told[1]


def exchange_currency(symbol: str, kind: AssetClass, calendar: str) -> str | None:
    """
    Return the currency of a calendar's exchange where it is that of a stock or an index.

    None for New York's, for what is spelt as listed elsewhere, and for CFDs and pairs. An index is
    in whole units.
    """
    told = listing_of(symbol) or cfd_of(symbol) or pair_of(symbol)
    if kind not in ("equity", "index") or told is not None or calendar == NEW_YORK[0]:
        return None
    currency = CURRENCY_OF.get(calendar)
    return MINOR_UNITS.get(currency or "", currency) if kind == "index" else currency


def needs_volume(symbol: str, given_class: AssetClass | None = None) -> bool:
    """Tell whether bars without volume cannot be traded; `given_class` wins over the symbol."""
    return (given_class or class_of(symbol)) == "equity"


def is_contract(symbol: str) -> bool:
    """Tell whether a symbol is no stock: what it names has neither splits nor dividends."""
    return class_of(symbol) != "equity"


def size_decimals(instrument: Instrument) -> int:
    """
    Return the decimals that a bar's volume is kept with.

    They are the lot's for stocks and coins; the volumes of FX and CFDs count ticks, and are whole.
    """
    return instrument.size_precision if instrument.funded else 0


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
    kind = given.asset_class or asset_class or class_of(symbol)
    currency = given.currency or _currency(symbol, kind)
    group: str = kind
    if kind == "equity":
        group = sectors.get(symbol) or SECTOR_OF.get(_bare(symbol), "Unknown")
    return Instrument(
        symbol=symbol,
        venue=VENUE,
        asset_class=kind,
        group=given.group or group,
        currency=currency,
        price_precision=_tick_decimals(first_price, kind)
        if given.precision is None
        else given.precision,
        lot_size=given.lot_size or _usual_lot(kind, currency, first_price),
        cost_bps=given.cost_bps,
        shortable=kind not in ("equity", "crypto") if given.shortable is None else given.shortable,
    )


def _currency(symbol: str, kind: AssetClass) -> str:
    """Return a symbol's quote currency; its class may be another than its spelling tells."""
    pair, tail = pair_of(symbol), symbol.upper()[-3:]
    if kind == class_of(symbol):
        return currency_of(symbol)
    if kind == "equity":
        return "USD"
    if pair is not None:
        return pair[1]
    known = tail in CURRENCIES if kind == "crypto" else kind == "forex" and len(symbol) == 6
    return tail if known else "USD"


def _bare(symbol: str) -> str:
    """Return a symbol without the suffix of a US stock."""
    bare = symbol.upper().removesuffix(".US")
    return symbol if bare == symbol.upper() else bare


def _usual_lot(kind: AssetClass, currency: str, price: float) -> float:
    """
    Return the least that is dealt, where it is not stated.

    A stock's is a share, a currency pair's one unit, as no venue deals less. A hundredth of an
    ounce, barrel or index point keeps a lot below 500 dollars, so that weights are not quantised.
    A coin's is the power of ten that is worth about a dollar at its first price.
    """
    if kind == "crypto":
        dollar = usual_cash(currency) / 100_000.0
        return float(f"1e{max(FINEST_LOT, round(math.log10(dollar / price)))}")
    return 1.0 if kind in ("equity", "forex") else 0.01


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
