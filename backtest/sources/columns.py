"""
Tells what a table holds from the names of its columns.

Names are compared without case, spaces or punctuation. Each canonical column has its accepted
names in order of preference: where a table holds two of them, the first wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from config.errors import DataError

type Kind = Literal["bars", "news", "fundamentals", "macro", "sectors", "actions", "closes"]

SYNONYMS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "ticker_symbol", "instrument"),
    "time": ("ts", "timestamp", "datetime", "time", "date", "period_end", "day"),
    "open": ("open", "open_price"),
    "high": ("high", "high_price"),
    "low": ("low", "low_price"),
    "close": ("close", "close_price"),
    "volume": ("volume", "vol"),
    "adj_close": ("adj_close", "adjclose", "adjusted_close"),
    "dividends": ("dividends", "dividend"),
    "stock_splits": ("stock_splits", "stock_split", "splits", "split"),
    "headline": ("headline", "text", "title", "original"),
    "body": ("body", "summary", "abstract", "content"),
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
    "liabilities": (
        "total_liabilities",
        "total_liabilities_net_minority_interest",
        "liabilities",
    ),
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

# what a kind cannot do without
REQUIRED: dict[Kind, tuple[str, ...]] = {
    "bars": ("time", "symbol", "open", "high", "low", "close", "volume"),
    "news": ("time", "symbol", "headline"),
    "fundamentals": ("time", "symbol"),
    "macro": ("time", "series", "value"),
    "sectors": ("symbol", "sector"),
    "actions": ("time", "symbol"),
    "closes": ("time", "symbol", "close"),
}


def normal(name: object) -> str:
    """Return a column's name in lower case, with runs of anything else as one underscore."""
    return re.sub(r"[^a-z0-9]+", "_", str(name).strip().lower()).strip("_")


def pick(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first of `names` that a table has, as the table spells it."""
    spelled = {normal(c): c for c in reversed(columns)}
    return next((spelled[n] for n in names if n in spelled), None)


def map_columns(columns: Sequence[str], given: Mapping[str, str], label: str) -> dict[str, str]:
    """
    Return canonical name -> the table's own name, for all that are recognised.

    `given` is the map of a source.yaml and wins. Raises DataError if it names a canonical
    column that does not exist or a column that the table lacks.
    """
    mapping = {k: c for k, names in SYNONYMS.items() if (c := pick(columns, names)) is not None}
    for canonical, column in given.items():
        if canonical not in SYNONYMS and canonical not in FIGURE_SYNONYMS:
            raise DataError(
                f"{label}: expected columns.<one of {', '.join(SYNONYMS)}>, was {canonical!r}"
            )
        if column not in columns:
            raise DataError(
                f"{label}: expected the column {column!r} for {canonical}, "
                f"was {', '.join(map(str, columns))}"
            )
        mapping[canonical] = column
    return mapping


def classify(columns: Sequence[str], mapping: Mapping[str, str], label: str) -> Kind:
    """
    Return what a table holds.

    Raises DataError, naming the columns, if it is like nothing that is known.
    """
    has = mapping.keys()
    prices = {"open", "high", "low", "close"} & has
    if "series" in has and "value" in has:
        return "macro"
    if prices == {"close"} and "volume" not in has and "symbol" in has:
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
        f"was {', '.join(map(str, columns))}"
    )


def require(kind: Kind, columns: Sequence[str], mapping: Mapping[str, str], label: str) -> None:
    """Raise DataError if a table lacks a column that its kind needs."""
    missing = [c for c in REQUIRED[kind] if c not in mapping]
    if missing:
        hint = " (or a symbol for this file in source.yaml)" if "symbol" in missing else ""
        raise DataError(
            f"{label}: expected {kind} with the column {', '.join(missing)}{hint}, "
            f"was {', '.join(map(str, columns))}"
        )
