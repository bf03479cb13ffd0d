"""
Cuts a market to sessions, and to those on which all of its instruments trade.

Nothing is filled forward. An instrument that lacks a few days costs the book these days; one that
lacks many has a hole, and the refusal says where it lies and what would go on. It knows no book.
"""

from dataclasses import replace

import numpy as np

from agents.arrays import BoolArray, IntArray
from backtest.market.market_data import MarketData, canonical
from backtest.market.sessions import day_text, parse_day, session_day
from config.errors import DataError, listed

MAX_CLOSED = 0.05  # of the sessions; more is a hole, not holidays
WORTH_GOING_ON = 0.1  # of the sessions: fewer beside a hole are not offered
SHOWN = 3  # ranges of days in a message


def common_sessions(market: MarketData, start: str | None = None) -> MarketData:
    """
    Return a market without the days on which some instrument does not trade.

    One holiday of one instrument would mask every feature whose window holds it, 60 sessions
    long, and nothing may be filled forward: with some 3 such days a year macd would be unknown
    in half of all sessions. Where an instrument lacks more than `MAX_CLOSED` and a run decides
    from `start` (YYYY-MM-DD) on, what comes before the hole's end is left out, with a note, if
    that is not after `start`. Raises DataError where that does not help.
    """
    closes = np.asarray(market.session_closes, dtype=np.int64)
    at = np.searchsorted(closes, market.bars["ts_close"].to_numpy())
    traded = np.zeros((len(closes), len(market.symbols)), dtype=bool)
    traded[at, np.searchsorted(market.symbols, market.bars["symbol"].to_numpy(dtype=str))] = True
    full = traded.all(axis=1)
    absent = (~traded).sum(axis=0)
    if absent.max() > MAX_CLOSED * len(closes):
        after = np.flatnonzero(full & _within_limit(traded[::-1])[::-1])
        days = session_day(closes)
        if start is None or not after.size or days[after[0]] > parse_day(start, "start"):
            raise DataError(_hole(market, traded, after))
        worst = int(absent.argmax())
        note = (
            f"the sessions before {day_text(days[after[0]])} are left out: "
            f"{market.symbols[worst]} is absent on {_ranges(days, ~traded[:, worst])}"
        )
        rest = between(market, int(after[0]), len(closes) - 1)
        return common_sessions(replace(rest, notes=(*rest.notes, note)))
    if full.all():
        return market
    note = f"{int((~full).sum())} days left out on which an instrument does not trade"
    return canonical(
        replace(
            market,
            bars=market.bars[full[at]],
            session_closes=tuple(closes[full].tolist()),
            notes=(*market.notes, note),
        )
    )


def between(market: MarketData, first: int, last: int) -> MarketData:
    """Return sessions first..last, both included; macro values and reports known before stay."""
    closes = market.session_closes
    begin, end = closes[first - 1] if first else 0, closes[last]
    bars, actions = market.bars, market.actions
    return canonical(
        replace(
            market,
            bars=bars[(bars["ts_open"] >= begin) & (bars["ts_close"] <= end)],
            actions=actions[(actions["ts"] >= begin) & (actions["ts"] <= end)],
            session_closes=closes[first : last + 1],
            news=tuple(n for n in market.news if begin < n.ts_init <= end),
            fundamentals=tuple(f for f in market.fundamentals if f.ts_init <= end),
            macro=tuple(m for m in market.macro if m.ts_init <= end),
        )
    )


def _within_limit(traded: BoolArray) -> BoolArray:
    """Return for (T, N) whether no instrument lacks more than it may up to each session, (T,)."""
    sessions = np.arange(1, len(traded) + 1)[:, None]
    within: BoolArray = ((~traded).cumsum(axis=0) <= MAX_CLOSED * sessions).all(axis=1)
    return within


def _hole(market: MarketData, traded: BoolArray, after: IntArray) -> str:
    """
    Return what to say of a market with a hole: whose, when, and how to go on without it.

    `after` are the sessions from which on there is none.
    """
    count, days = len(traded), session_day(np.asarray(market.session_closes, dtype=np.int64))
    absent, full = (~traded).sum(axis=0), traded.all(axis=1)
    worst = int(absent.argmax())
    holed = [market.symbols[i] for i in np.flatnonzero(absent > MAX_CLOSED * count)]
    before = np.flatnonzero(full & _within_limit(traded))
    ways = []
    if len(holed) < len(market.symbols):
        ways.append(f"without {listed(holed, most=2)} (symbols)")
    if after.size and count - after[0] >= WORTH_GOING_ON * count:
        ways.append(f"from {day_text(days[after[0]])} (start)")
    if before.size and before[-1] + 1 >= WORTH_GOING_ON * count:
        ways.append(f"until {day_text(days[before[-1]])} (end)")
    go_on = f"; go on {' or '.join(ways)}" if ways else ""
    return (
        f"expected instruments that trade on the same days, was {market.symbols[worst]} absent "
        f"on {absent[worst]} of {count}: {_ranges(days, ~traded[:, worst])}{go_on}"
    )


def _ranges(days: IntArray, absent: BoolArray) -> str:
    """Return the longest ranges of absent sessions in words, in time's order; both (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], absent, [False]])))
    starts, stops = edges[::2], edges[1::2]
    longest = np.sort(np.argsort(starts - stops, kind="stable")[:SHOWN])
    shown = [(days[starts[k]], days[stops[k] - 1]) for k in longest]
    words = [day_text(a) if a == b else f"{day_text(a)} to {day_text(b)}" for a, b in shown]
    more = int(absent.sum() - (stops - starts)[longest].sum())
    return ", ".join(words) + (f" and {more} other days" if more else "")
