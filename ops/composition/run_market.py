"""
Opens the market that settings name, and says from when on a run decides, and who chose that.

`multi-asset:SOURCE` and `equity:SOURCE` are a source as the allocator's book of that name trades
it: the same instruments, sessions and groups as in training, or those of them that `data.symbols`
chooses. `SOURCE` may be the simulator.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backtest.market.accounts import with_account
from backtest.market.book_kinds import as_book
from backtest.market.market_data import MarketData
from backtest.market.sessions import DAY_NS, day_text, parse_day, session_day
from backtest.market.tradable import require_tradable
from backtest.sources import open_source
from config.settings import ENV_PREFIX, Settings
from config.sources import book_of

if TYPE_CHECKING:
    from backtest.plan import RunPlan


@dataclass(frozen=True)
class Chosen:
    """Who chose a run's first and last day, in words; "" where nobody did."""

    start: str = ""
    end: str = ""


def chosen_by(settings: Settings, start: str | None, end: str | None, profile: str) -> Chosen:
    """Return who chose the dates of settings: flags (`start`, `end`), environment or profile."""

    def by(name: str, given: str | None, value: str | None) -> str:
        variable = f"{ENV_PREFIX}DATA__{name.upper()}"
        if given is not None:
            return f"--{name}"
        if variable in os.environ:
            return variable
        return "" if value is None else f"the {name} of profile {profile}"

    return Chosen(by("start", start, settings.data.start), by("end", end, settings.data.end))


@dataclass(frozen=True)
class RunMarket:
    """What a run trades, under which settings, from what stamp on, and who chose its days."""

    market: MarketData
    settings: Settings
    start_ns: int | None
    chosen: Chosen


def open_run_market(
    settings: Settings, start: str | None, end: str | None, profile: str
) -> RunMarket:
    """Return the market of a run as `open_market` does, under the flags that chose its days."""
    market, booked, start_ns = open_market(settings)
    return RunMarket(market, booked, start_ns, chosen_by(booked, start, end, profile))


def open_market(settings: Settings) -> tuple[MarketData, Settings, int | None]:
    """
    Return the settings' market, the settings of its kind of book, and where a run decides from.

    That is `data.start` in UTC nanoseconds, None where there is none.
    The account is in a currency that it can be traded in (`backtest.market.accounts`).
    Raises DataError where there is none.
    """
    data = settings.data
    start = None if data.start is None else parse_day(data.start, "start") * DAY_NS
    book, source = book_of(data.source)
    if book is not None:
        from learning.datasets.markets import book_market

        market = book_market(
            book,
            source,
            start=data.start,
            end=data.end,
            symbols=data.symbols,
            seed=settings.seed,
        )
    else:
        market = open_source(
            source, start=data.start, end=data.end, symbols=data.symbols, seed=settings.seed
        )
    market, settings = with_account(market, settings)
    require_tradable(market, settings.market.currency)
    return *as_book(market, settings), start


def span_note(
    session_closes: Sequence[int], decide_from: int, chosen: Chosen, *, walk_forward: bool = False
) -> str:
    """
    Return what span a run trades, and why, as one sentence.

    `session_closes` are those of the run's market, warm-up included, and `decide_from` is the
    first deciding stamp, all UTC nanoseconds; a walk-forward run decides after its first training.
    """
    before = sum(close < decide_from for close in session_closes)
    first, last = session_day(np.array([decide_from, session_closes[-1]], dtype=np.int64))
    start = chosen.start or "the end of the warm-up"
    if walk_forward:
        start = "the first window's test"
    end = chosen.end or "the end of the source"
    return (
        f"traded {day_text(first)} to {day_text(last)}, {len(session_closes) - before} sessions: "
        f"from {start} to {end}; {before} sessions before warm the features up"
    )


def with_span(plan: RunPlan, chosen: Chosen, walk_forward: bool = False) -> RunPlan:
    """Return a plan whose market's first note says what span is traded, and why."""
    market = plan.market
    note = span_note(market.session_closes, plan.decide_from, chosen, walk_forward=walk_forward)
    return replace(plan, market=replace(market, notes=(note, *market.notes)))
