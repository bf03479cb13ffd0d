"""
Tells what a table holds from the names of its columns.

Names are compared without case, spaces or punctuation. Each canonical column has its accepted
names in order of preference: where a table holds two of them, the first wins.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from config.currencies import COINS
from config.errors import DataError, listed

COLUMNS_SHOWN = 12  # of a table, in a message

type Kind = Literal["bars", "news", "fundamentals", "macro", "sectors", "actions", "closes"]

SYNONYMS: dict[str, tuple[str, ...]] = {
    "symbol": (
        *("symbol", "ticker", "ticker_symbol", "instrument", "tic", "sym", "stock"),
        *("act_symbol", "secid", "code", "name"),
    ),
    "time": (
        *(
            "timeopen",
            "time_open",
            "ts",
            "timestamp",
            "datetime",
            "time",
            "unix",
            "unix_timestamp",
            "unix_time",
        ),
        *("open_time", "window_start", "ts_event", "date_time", "gmt_time", "local_time"),
        *("time_utc", "time_eet", "time_gmt", "datetime_utc", "timestamp_utc", "date_utc"),
        *("published_at", "publishedat", "published", "pubdate", "pub_date", "created_at"),
        *(
            "date",
            "date1",
            "observation_date",
            "trade_date",
            "tradedate",
            "trading_date",
            "period_end",
            "day",
        ),
    ),
    "open": ("open", "open_price", "openprice", "px_open"),
    "high": ("high", "high_price", "highprice", "px_high"),
    "low": ("low", "low_price", "lowprice", "px_low"),
    "close": (
        "close",
        "close_price",
        "closeprice",
        "close_last",
        "px_last",
        "last",
        "latest",
        "ltp",
    ),
    "volume": (
        *("volume", "vol", "real_volume", "tick_volume", "tickvol", "tickvolume"),
        *(
            "volume_from",
            "volumefrom",
            "tottrdqty",
            "ttl_trd_qnty",
            "total_traded_quantity",
            "shares_traded",
            "no_of_shares",
        ),
    ),
    "adj_close": ("adj_close", "adjclose", "adjusted_close", "adj_close_price", "closeadj"),
    "dividends": (
        *("dividends", "dividend", "dividend_amount", "divcash", "ex_dividend", "cash_dividend"),
    ),
    "stock_splits": (
        *("stock_splits", "stock_split", "splits", "split", "split_coefficient", "splitfactor"),
        "split_ratio",
    ),
    "headline": ("headline", "title", "text", "original"),
    "body": ("body", "summary", "abstract", "content", "description", "text"),
    "publisher": ("publisher", "source"),
    "id": ("id", "item_id", "news_id"),
    "series": ("series", "series_id"),
    "value": ("value", "price"),
    "item": ("item", "concept", "metric", "figure"),
    "period": ("period", "form", "period_type"),
    "filed": ("filing_date", "filed", "filed_at"),
    "sector": ("gics_sector", "sector", "group"),
}

# the figures of a report, named as in `agents.features.ledgers.FIGURES`
FIGURE_SYNONYMS: dict[str, tuple[str, ...]] = {
    "revenue": ("total_revenue", "revenue", "revenues", "sales", "operating_revenue"),
    "net_income": ("net_income", "net_income_common_stockholders", "netincome"),
    "equity": ("total_equity", "stockholders_equity", "common_stock_equity", "equity"),
    "assets": ("total_assets", "assets"),
    "liabilities": ("total_liabilities", "total_liabilities_net_minority_interest", "liabilities"),
    "shares": (
        "ordinary_shares_number",
        "estimated_shares_outstanding",
        "shares_outstanding",
        "share_issued",
        "shares",
    ),
    "eps": ("diluted_eps", "earnings_per_share", "basic_eps", "eps"),
    "operating_cash_flow": ("operating_cash_flow", "net_cash_flow_operating"),
    "current_ratio": ("current_ratio",),
}
CURRENT_ASSETS = ("total_current_assets", "current_assets")
CURRENT_LIABILITIES = ("total_current_liabilities", "current_liabilities")

NAMES = frozenset(n for names in (*SYNONYMS.values(), *FIGURE_SYNONYMS.values()) for n in names)
# what the fields of a table with several header rows may be
PRICE_NAMES = frozenset(
    [
        *(n for c in ("open", "high", "low", "close", "volume", "adj_close") for n in SYNONYMS[c]),
        *(*SYNONYMS["dividends"], *SYNONYMS["stock_splits"], "capital_gains"),
    ]
)

# what a kind cannot do without
REQUIRED: dict[Kind, tuple[str, ...]] = {
    "bars": ("time", "symbol", "open", "high", "low", "close"),
    "news": ("time", "symbol", "headline"),
    "fundamentals": ("time", "symbol"),
    "macro": ("time", "series", "value"),
    "sectors": ("symbol", "sector"),
    "actions": ("time", "symbol"),
    "closes": ("time", "symbol", "close"),
}


@lru_cache(maxsize=4096)
def normal(name: object) -> str:
    """Return a column's name in lower case, with runs of anything else as one underscore."""
    plain = re.sub(r"[^a-z0-9]+", "_", str(name).strip().lower()).strip("_")
    return re.sub(r"^\d+_(?=open|high|low|close|adjusted|volume)", "", plain)  # "1. open"


def pick(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first of `names` that a table has, as the table spells it."""
    return _first(_spelled(columns), names)


def _spelled(columns: Sequence[str]) -> dict[str, str]:
    """Return a table's own names of its columns by their normal names."""
    return {normal(c): c for c in reversed(columns)}


def _first(spelled: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((spelled[n] for n in names if n in spelled), None)


def map_columns(columns: Sequence[str], given: Mapping[str, str], label: str) -> dict[str, str]:
    """
    Return canonical name -> the table's own name, for all that are recognised.

    `given` is the map of a source.yaml and wins. Raises DataError if it names a canonical
    column that does not exist or a column that the table lacks.
    """
    spelled = _spelled(columns)
    mapping = {k: c for k, names in SYNONYMS.items() if (c := _first(spelled, names)) is not None}
    if mapping.get("body") == mapping.get("headline"):
        mapping.pop("body", None)
    if {"open", "high", "low"} <= mapping.keys():
        if "close" not in mapping and "value" in mapping:  # investing.com's Price
            mapping["close"] = mapping["value"]
        if (column := _volume(columns, "volume" in mapping)) is not None:
            mapping["volume"] = column
    for canonical, column in given.items():
        if canonical not in SYNONYMS and canonical not in FIGURE_SYNONYMS:
            raise DataError(
                f"{label}: expected columns.<one of {', '.join(SYNONYMS)}>, was {canonical!r}"
            )
        if column not in columns:
            raise DataError(
                f"{label}: expected the column {column!r} for {canonical}, "
                f"was {listed(columns, COLUMNS_SHOWN)}"
            )
        mapping[canonical] = column
    return mapping


def _volume(columns: Sequence[str], plain: bool) -> str | None:
    """
    Return the volume in the base currency of columns as "Volume BTC" and "Volume USDT".

    Beside a `plain` volume, which counts the quote currency then, only a coin's is taken.
    """
    named = {normal(c).removeprefix("volume_"): c for c in columns if normal(c)[:7] == "volume_"}
    of_coin = next((c for code, c in named.items() if code.upper() in COINS), None)
    return of_coin or (None if plain else next(iter(named.values()), None))


def classify(columns: Sequence[str], mapping: Mapping[str, str], label: str) -> Kind:
    """
    Return what a table holds.

    Raises DataError, naming the columns, if it is like nothing that is known.
    """
    has = mapping.keys()
    prices = {"open", "high", "low", "close"} & has
    if "series" in has and "value" in has and len(prices) < 2:
        return "macro"
    if prices == {"close"} and "volume" not in has and {"symbol", "time"} <= has:
        return "closes"
    if len(prices) >= 2 or (prices and "volume" in has):
        return "bars"
    if "headline" in has:
        return "news"
    if "sector" in has and "time" not in has:
        return "sectors"
    if {"dividends", "stock_splits"} & has and "symbol" in has:
        return "actions"
    if ("item" in has and "value" in has) or any(
        figure in has or pick(columns, names) for figure, names in FIGURE_SYNONYMS.items()
    ):
        return "fundamentals"
    raise DataError(
        f"{label}: expected the columns of bars, news, fundamentals, macro, sectors or actions, "
        f"was {listed(columns, COLUMNS_SHOWN)}"
    )


def require(kind: Kind, columns: Sequence[str], mapping: Mapping[str, str], label: str) -> None:
    """Raise DataError if a table lacks a column that its kind needs."""
    missing = [c for c in REQUIRED[kind] if c not in mapping]
    if missing:
        hint = " (or a symbol for this file in source.yaml)" if "symbol" in missing else ""
        raise DataError(
            f"{label}: expected {kind} with the column {', '.join(missing)}{hint}, "
            f"was {listed(columns, COLUMNS_SHOWN)}"
        )
