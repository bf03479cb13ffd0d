"""
What may be a symbol, and the symbol that a file's name tells.

Vendors write the symbol into the names of their files with more around it ("daily_IBM.csv",
"EURUSD_H1_202001.csv"): those forms are known here. Any other name is the symbol as it stands.
"""

import re
from urllib.parse import unquote

from config.currencies import pair_of
from config.errors import DataError

SYMBOL = re.compile(r"[A-Za-z0-9^][A-Za-z0-9^._\-/&=:]{0,31}")
MOST = 32  # characters of a symbol
_VENDORS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:daily|weekly|monthly|intraday)(?:_adjusted)?(?:_\d+min)?_(?P<symbol>[^_]+)",
        r"DAT_(?:ASCII|MT|NT|XLSX)_(?P<symbol>[A-Z0-9]+)_[A-Z0-9]+_\d{4,8}.*",  # HistData
        r"Quote-Equity-(?P<symbol>.+?)-EQ-.*",  # NSE
        r"(?:MW-)?(?P<symbol>[A-Z0-9&]+)-EQ-N",  # NSE
        r"(?P<symbol>[A-Za-z0-9.]+?)_Candlestick_.*",  # Dukascopy
        r"(?P<symbol>[a-z0-9]+)-(?:tick|[mhd]\d{0,2}|mn1)-(?:bid|ask)(?:-.*)?",  # dukascopy-node
        r"(?P<symbol>[A-Z0-9]{5,})-\d{1,2}[smhdwMo]{1,2}(?:-\d{4}-\d{2}(?:-\d{2})?)?",  # Binance
        r"(?:Binance|Bitstamp|Bitfinex|Coinbase|Gemini|Kraken|Poloniex|OKX|Bybit|FTX)"
        r"_(?P<symbol>[A-Za-z0-9]+)_(?:1?d|1hr?|hour|(?:\d{4}_)?minute)",  # CryptoDataDownload
        r"(?P<venue>[A-Z][A-Z0-9_]*?)_(?P<symbol>[A-Z0-9.!]+), (?:1[SDWM]|\d+[SDWM]?)"
        r"(?:[_ ][0-9a-f]{5,6})?",  # TradingView
        r"(?P<symbol>.+?) Historical Data(?: - Investing\.com)?(?: ?\(\d+\))?",  # investing.com
        r"(?P<symbol>[A-Za-z0-9.#&]+?)_(?:[DHM]\d{1,2}|W1|MN1?|Daily|Weekly)(?:_\d{8,12}_\d{8,12})?",
        r"(?P<symbol>[A-Z]{6,})_?(?:1|5|15|30|60|240|720|1440|10080|43200)",  # MT4, Kraken
        r"(?P<symbol>[A-Z0-9]+_[A-Z]+)(?:_[A-Z]+)?-\d+[mhdwM](?:-[a-z]+)?",  # freqtrade
        r"(?P<symbol>[A-Za-z]+)_full_(?:1min|5min|30min|1hour|1day)_.*",  # FirstRate
    )
)
_VENUES = {  # TradingView's names of exchanges -> the suffix of their symbols
    **{"LSE": ".L", "NSE": ".NS", "BSE": ".BO", "XETR": ".DE", "TSE": ".T", "HKEX": ".HK"},
    **{"ASX": ".AX", "TSX": ".TO", "MIL": ".MI", "BME": ".MC", "SIX": ".SW", "KRX": ".KS"},
    **{"SSE": ".SS", "SZSE": ".SZ", "OMXSTO": ".ST", "OMXCOP": ".CO", "OSL": ".OL"},
}
_NO_NAME_WORDS = (
    "bars bar data prices price ohlc ohlcv quotes history historical export download table stock "
    "stocks candles klines output test sample file dataset result csv out daily hourly intraday "
    "minute market untitled"
)
_NO_NAMES = frozenset(_NO_NAME_WORDS.split())


def is_symbol(text: str) -> bool:
    """
    Tell whether a text may be a symbol.

    It begins with a letter, a digit or ^, goes on with these and . _ - / & = :, has at most
    `MOST` characters and no two points in a row, so that it is safe in paths, pages and prompts.
    """
    return SYMBOL.fullmatch(text) is not None and ".." not in text


def require_symbol(text: str, where: str) -> str:
    """Return a symbol. Raises DataError, which says `where` it stood, for what is none."""
    if not is_symbol(text):
        raise DataError(
            f"{where}: expected a symbol (a letter, digit or ^, then also . _ - / & = :, at most "
            f"{MOST} characters), was {text[: MOST + 1]!a}"
        )
    return text


def symbol_in(stem: str) -> str | None:
    """
    Return the symbol that a file's name without its ending tells, or None where it tells none.

    One that has no capital letter is given in capitals; "bars", "prices" and the like are none.
    """
    plain = re.sub(r"(?: ?\(\d+\)| - Copy)$", "", unquote(stem)).strip()
    if plain in _NO_NAMES or re.fullmatch(r"HistoricalData_\d+", plain):
        return None
    for pattern in _VENDORS:
        match = pattern.fullmatch(plain)
        if match is not None:
            venue = match.groupdict().get("venue") or ""
            plain = match["symbol"] + _VENUES.get(venue, "")
            break
    parts = re.split(r"[_\- ]", plain)
    pairs = [part for part in parts if pair_of(part) is not None]
    if len(parts) > 1 and len(pairs) == 1:  # "FOREX_EURUSD_1H_ASK"
        (plain,) = pairs
    if not any(c.isupper() for c in plain):
        plain = plain.upper()
    return plain if is_symbol(plain) else None
