"""
The observable side of a simulated market: sessions, bars, headlines, filings, macro series.

Observables are made from hidden paths and never the other way. Every draw is row by row from a
generator of its own, so a longer market begins with the shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray, IntArray
from agents.messages import FundamentalsReport, MacroValue, NewsItem
from backtest.market.sessions import DAY_NS, XNYS, load_sessions, parse_day
from backtest.simulator.structure import MACRO, MACRO_NAMES, Structure, stream
from backtest.simulator.text import write
from config.simulator import SimulatorSettings

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Clock:
    """Sessions: stamps (T,) in UTC nanoseconds; `quarter_end` (T,) marks a quarter's last one."""

    ts_open: IntArray
    ts_close: IntArray
    quarter_end: IntArray


def sessions(start: str, count: int) -> Clock:
    """
    Return the first `count` sessions of the XNYS calendar from `start` on.

    Raises ConfigError where `start` is no date.
    """
    day = parse_day(start, "start")
    year = int(start[:4])
    calendar = load_sessions(XNYS, year, year + (count + 1) // 245 + 1)
    first = int(np.searchsorted(calendar.days, day))
    part = slice(first, first + count)
    months = calendar.days[first : first + count + 1].astype("datetime64[D]")
    quarter = months.astype("datetime64[M]").astype(np.int64) // 3
    return Clock(
        ts_open=calendar.opens[part],
        ts_close=calendar.closes[part],
        quarter_end=(quarter[:-1] != quarter[1:]).astype(np.int64),
    )


def bars(
    s: SimulatorSettings,
    st: Structure,
    log_price: FloatArray,
    returns: FloatArray,
    scale: FloatArray,
    regime: IntArray,
    seed: int,
) -> dict[str, FloatArray]:
    """
    Return open, high, low, close and volume, each (T, N).

    The opening is a point of the Brownian bridge between two closes, at the overnight share of
    the session's variance; high and low are the extremes of bridges from opening to close.
    `scale` (T, N) is the session's shock deviation, `regime` (T,) the one that drove it.
    """
    t, n = log_price.shape
    draws = stream(seed, 11).random((t, 3, n))
    bridge = stream(seed, 12).standard_normal((t, 2, n))
    share = np.where(draws[:, 0] < s.gap_probability, s.gap_share, s.overnight_share)
    before = log_price - returns
    first = before + share * returns + np.sqrt(share * (1.0 - share)) * scale * bridge[:, 0]
    left = (1.0 - share) * np.square(scale)
    move = np.square(log_price - first)
    reach = np.sqrt(move[:, None] - 2.0 * left[:, None] * np.log1p(-draws[:, 1:]))
    middle = first + log_price
    sigma = float(st.stationary @ st.volatility)
    log_volume = (
        np.log(st.base_volume)
        + st.volume_level[regime][:, None]
        + st.volume_slope * np.abs(returns) / (sigma * st.deviation)
        + st.volume_noise * bridge[:, 1]
    )
    return {
        "open": _cents(first),
        "high": _cents((middle + reach[:, 0]) / 2.0),
        "low": _cents((middle - reach[:, 1]) / 2.0),
        "close": _cents(log_price),
        "volume": np.round(np.exp(log_volume)),
    }


def _cents(log_values: FloatArray) -> FloatArray:
    return np.maximum(np.round(np.exp(log_values), 2), 0.01)


def macro_values(st: Structure, regime: IntArray, rng: np.random.Generator) -> FloatArray:
    """
    Return the macro series, rounded as published, (T, J).

    Each is an autoregression around a level that the regime sets.
    """
    noise = rng.standard_normal((len(regime), len(MACRO_NAMES))) * st.macro_noise
    values = np.empty_like(noise)
    last = st.stationary @ st.macro_level
    keep = st.macro_persistence
    for k, level in enumerate(st.macro_level[regime]):
        last = keep * last + (1.0 - keep) * level + noise[k]
        values[k] = last
    digits = [MACRO[name][3] for name in MACRO_NAMES]
    return np.stack([np.round(values[:, j], d) for j, d in enumerate(digits)], axis=1)


def macro(clock: Clock, values: FloatArray) -> tuple[MacroValue, ...]:
    """Return the macro series as messages, known at the close."""
    return tuple(
        MacroValue(series=name, ts_event=ts, ts_init=ts, value=value)
        for ts, row in zip(clock.ts_close.tolist(), values.tolist(), strict=True)
        for name, value in zip(MACRO_NAMES, row, strict=True)
    )


def news_items(
    st: Structure,
    clock: Clock,
    session: IntArray,
    instrument: IntArray,
    wire: IntArray,
    reading: FloatArray,
    seed: int,
) -> tuple[NewsItem, ...]:
    """Return the items as messages, each stamped between the last close and its session's."""
    draws = stream(seed, 13).random((len(session), 6))
    begin = np.r_[clock.ts_open[:1], clock.ts_close[:-1]]
    items = []
    for k, (t, i, w) in enumerate(zip(session, instrument, wire, strict=True)):
        span = int(clock.ts_close[t] - begin[t]) - 120 * SECOND_NS
        seconds = int(draws[k, 5] * span) // SECOND_NS
        ts = int(begin[t]) + 60 * SECOND_NS + seconds * SECOND_NS
        headline, body = write(st.names[i], float(reading[k]), bool(w), draws[k, :5])
        items.append(
            NewsItem(
                symbol=st.symbols[i],
                ts_event=ts,
                ts_init=ts + SECOND_NS,
                source="wire" if w else "chatter",
                item_id=f"{k:07d}",
                headline=headline,
                body=body,
            )
        )
    return tuple(items)


def reports(
    s: SimulatorSettings, clock: Clock, log_value: FloatArray, seed: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """
    Return the quarters filed within the market.

    Their last sessions and the sessions at whose close the filing is known (Q,), and the log
    values as reported, with noise, (Q, N).
    """
    noise = stream(seed, 14).standard_normal(log_value.shape)
    ends = np.flatnonzero(clock.quarter_end)
    known = np.searchsorted(clock.ts_close, clock.ts_close[ends] + s.filing_days * DAY_NS)
    inside = known < len(clock.ts_close)
    ends, known = ends[inside], known[inside]
    return (
        ends.astype(np.int64),
        known.astype(np.int64),
        log_value[ends] + s.report_noise * noise[ends],
    )


def fundamentals(
    s: SimulatorSettings,
    st: Structure,
    clock: Clock,
    session: IntArray,
    filed: IntArray,
    log_value: FloatArray,
    seed: int,
) -> tuple[FundamentalsReport, ...]:
    """
    Return the filings as messages; a quarter's earnings are a quarter of yield times value.

    Figures beside the earnings are fixed multiples of value with noise, so they carry the same
    message less clearly.
    """
    draws = stream(seed, 15).standard_normal((len(session), 4, len(st.symbols)))
    out = []
    for q, (end, _) in enumerate(zip(session, filed, strict=True)):
        ts = int(clock.ts_close[end])
        value = np.exp(log_value[q])
        eps = value * st.earnings_yield / 4.0
        income = eps * st.shares
        revenue = income / 0.12 * np.exp(0.05 * draws[q, 0])
        book = value * st.shares * 0.35 * np.exp(0.05 * draws[q, 1])
        debt = book * 0.5 * np.exp(0.05 * draws[q, 2])
        cash_flow = income * 1.2 * np.exp(0.10 * draws[q, 3])
        for i, symbol in enumerate(st.symbols):
            out.append(
                FundamentalsReport(
                    symbol=symbol,
                    ts_event=ts,
                    ts_init=ts + s.filing_days * DAY_NS,
                    period="quarter",
                    figures={
                        "eps": round(float(eps[i]), 6),
                        "revenue": round(float(revenue[i]), 0),
                        "net_income": round(float(income[i]), 0),
                        "equity": round(float(book[i]), 0),
                        "assets": round(float(book[i] + debt[i]), 0),
                        "liabilities": round(float(debt[i]), 0),
                        "operating_cash_flow": round(float(cash_flow[i]), 0),
                        "shares": float(st.shares[i]),
                    },
                )
            )
    return tuple(out)
