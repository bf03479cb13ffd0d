"""
The features of news, fundamentals and macro series, one small function each.

They read the ledgers at one stamp, and no prices but the last closes under the yields.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import nan

import numpy as np

from agents.arrays import FloatArray
from agents.features.ledgers import NEWS_FLOOR, MacroLedger


@dataclass(frozen=True)
class Evidence:
    """
    What is known at `ts` beside prices.

    Shapes: news_total, news_count, close (N,); ratios (4, N). `close` is in the shares that the
    ratios are in, NaN where prices are not as quoted. `session_closes` are the stamps of the
    newest 21 sessions, oldest first, 0 where there was none.
    """

    ts: int
    news_total: FloatArray
    news_count: FloatArray
    ratios: FloatArray
    close: FloatArray
    macro: MacroLedger
    session_closes: Sequence[int]


def sentiment(e: Evidence) -> FloatArray:
    """
    Mean news score, -2..2, each item's weight halving every 3 days; masked after 30 quiet days.

    Source: definition; exponential decay in wall time.
    """
    heard = e.news_count >= NEWS_FLOOR
    return np.where(heard, e.news_total / e.news_count, nan)


def news_intensity(e: Evidence) -> FloatArray:
    """
    log(1 + number of news items), each item's weight halving every 3 days.

    Source: definition; masked before the first item about any instrument.
    """
    return np.log1p(e.news_count)


def earnings_yield(e: Evidence) -> FloatArray:
    """
    Trailing earnings per share over close; needs prices as quoted.

    Source: Basu 1977; trailing twelve months of known reports.
    """
    earnings: FloatArray = e.ratios[0]
    return earnings / e.close


def book_yield(e: Evidence) -> FloatArray:
    """
    Book equity per share over close; needs prices as quoted.

    Source: Fama and French 1992, book to market.
    """
    book: FloatArray = e.ratios[1]
    return book / e.close


def profitability(e: Evidence) -> FloatArray:
    """
    Trailing net income over book equity, masked where equity is not positive.

    Source: definition, return on equity.
    """
    return_on_equity: FloatArray = e.ratios[2]
    return return_on_equity


def growth(e: Evidence) -> FloatArray:
    """Revenue over that of the same period a year before, less one."""
    year_on_year: FloatArray = e.ratios[3]
    return year_on_year


def vix(e: Evidence) -> float:
    """
    Newest known value of the series vix, in points.

    Source: Cboe volatility index.
    """
    return e.macro.value("vix", e.ts)


def vix_change_5(e: Evidence) -> float:
    """Change of vix since what was known at the close 5 sessions before the newest, in points."""
    return vix(e) - e.macro.value("vix", e.session_closes[-6])


def yield_short(e: Evidence) -> float:
    """
    Newest known value of the series yield_short, in the source's units (percent a year).

    Source: a government yield of up to two years, by the source.
    """
    return e.macro.value("yield_short", e.ts)


def yield_long(e: Evidence) -> float:
    """
    Newest known value of the series yield_long, in the source's units (percent a year).

    Source: a ten-year government yield, by the source.
    """
    return e.macro.value("yield_long", e.ts)


def yield_slope(e: Evidence) -> float:
    """
    yield_long less yield_short.

    Source: term spread, Estrella and Hardouvelis 1991.
    """
    return yield_long(e) - yield_short(e)


def credit_spread(e: Evidence) -> float:
    """
    Newest known value of the series credit_spread, in the source's units (percent a year).

    Source: a corporate yield over a safe one, by the source.
    """
    return e.macro.value("credit_spread", e.ts)


def commodity_return_20(e: Evidence) -> float:
    """
    Log change of commodity since what was known at the close 20 sessions before the newest.

    Source: definition; masked where either price is not positive.
    """
    now, then = e.macro.value("commodity", e.ts), e.macro.value("commodity", e.session_closes[-21])
    return math.log(now / then) if now > 0.0 and then > 0.0 else nan


def month_sin(e: Evidence) -> float:
    """
    Sine of the month of the year as an angle, January 0, in UTC.

    Source: seasonality, Bouman and Jacobsen 2002.
    """
    return math.sin(_month_angle(e.ts))


def month_cos(e: Evidence) -> float:
    """
    Cosine of the month of the year as an angle, January 0, in UTC.

    Source: as month_sin.
    """
    return math.cos(_month_angle(e.ts))


def _month_angle(ts: int) -> float:
    month = datetime.fromtimestamp(ts // 1_000_000_000, UTC).month
    return 2.0 * math.pi * (month - 1) / 12.0


EVIDENCE_FEATURES = (
    sentiment,
    news_intensity,
    earnings_yield,
    book_yield,
    profitability,
    growth,
)
MACRO_VALUE_FEATURES = (
    vix,
    vix_change_5,
    yield_short,
    yield_long,
    yield_slope,
    credit_spread,
    commodity_return_20,
)
SEASON_FEATURES = (month_sin, month_cos)
