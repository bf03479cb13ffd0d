"""
Parity: one schedule through the engine and through the twin, compared at every step.

The engine is the truth. Compared are, session by session, every fill (instrument, quantity,
price, fee) in its order, the account's balance, the equity, what is held and its weights, the
drawdown and what cash would have earned; the first difference is described in words. An order of a
decision that asked to hold is a difference too. Prices and quantities are compared to the last
digit, money to the cent. In the twin the schedule's book stands between two others that trade
otherwise, since a batch must not mix its books.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtest.engine.stepped_book import Close, EngineBook
from backtest.market.rules import split_factors
from backtest.market.sessions import stamp_text
from learning.twin.market_arrays import make_market_arrays
from learning.twin.schedules import Schedule
from learning.twin.step import Step
from learning.twin.twin import Twin

BOOKS = 3  # in the twin
BOOK = 1  # the one that is compared
HALF_CENT = 0.005
FRACTION = 1e-9  # of equity: a cent of the smallest account is 1e-6
RELATIVE = 1e-12  # of a price or quantity: less than any last digit, more than a double's

type Fill = tuple[int, str, float, float, float]  # stamp, symbol, quantity, price, fee


@dataclass(frozen=True)
class Parity:
    """
    What a comparison saw. `difference` is "" where engine and twin agree.

    `money` is the largest difference of equity, balance or fee met on the way, in the account's
    currency.
    """

    kind: str
    seed: int
    steps: int
    fills: int
    stops: int
    delisted: int
    limited: int
    money: float
    difference: str


@dataclass(frozen=True)
class KindRow:
    """All schedules of one kind."""

    kind: str
    schedules: int
    steps: int
    fills: int
    stops: int
    delisted: int
    limited: int
    differences: int


def run_schedules(
    schedules: Iterable[Schedule], progress: Callable[[Parity], None] | None = None
) -> list[Parity]:
    """Compare each schedule and return what was seen; `progress` takes each."""
    results = []
    for schedule in schedules:
        result = compare(schedule)
        results.append(result)
        if progress is not None:
            progress(result)
    return results


def by_kind(results: Iterable[Parity]) -> list[KindRow]:
    """Return one row a kind, in the order met."""
    rows: dict[str, Counter[str]] = {}
    for result in results:
        row = rows.setdefault(result.kind, Counter())
        row["schedules"] += 1
        row["differences"] += bool(result.difference)
        for name in ("steps", "fills", "stops", "delisted", "limited"):
            row[name] += getattr(result, name)
    return [
        KindRow(
            kind=kind,
            schedules=row["schedules"],
            steps=row["steps"],
            fills=row["fills"],
            stops=row["stops"],
            delisted=row["delisted"],
            limited=row["limited"],
            differences=row["differences"],
        )
        for kind, row in rows.items()
    ]


def compare(schedule: Schedule) -> Parity:
    """Run one schedule in both worlds until its end or the first difference."""
    market, settings, start = schedule.market, schedule.settings, schedule.start
    market_arrays = make_market_arrays([market], settings)
    twin = Twin(market_arrays, settings, BOOKS, record=True)
    twin.reset(np.zeros(BOOKS, np.int64), np.full(BOOKS, start), settings.seed)
    account = _Account(schedule)
    book = EngineBook(market, settings, start=start)
    steps = fills = stops = delisted = limited = 0
    money, difference = 0.0, ""
    try:
        close = book.start()
        for targets in schedule.targets:
            held = np.isnan(targets)
            asked = np.where(held, twin.weights[BOOK], targets)
            close = book.step(np.where(held, close.weights, targets))
            step = twin.step(np.array([-asked, asked, 0.5 * np.roll(asked, 1)]))
            steps += 1
            fills += len(close.fills)
            stops += sum(order.reason == "stop" for order in close.orders)
            delisted += sum(order.reason == "delisted" for order in close.orders)
            limited += bool(step.limited[BOOK])
            off, difference = account.compare(close, step, twin)
            money = max(money, off)
            difference = difference or account.traded(close, held)
            if difference:
                break
        if not difference:
            book.finish()
    finally:
        book.close()
    return Parity(
        kind=schedule.kind,
        seed=schedule.seed,
        steps=steps,
        fills=fills,
        stops=stops,
        delisted=delisted,
        limited=limited,
        money=money,
        difference=difference,
    )


class _Account:
    """Puts both worlds' sessions into one layout and compares them."""

    def __init__(self, schedule: Schedule) -> None:
        self._symbols = schedule.market.symbols
        self._factors = split_factors(schedule.market)

    def compare(self, close: Close, step: Step, twin: Twin) -> tuple[float, str]:
        """Return the largest difference in money, and the first difference in words."""
        when = stamp_text(close.ts)
        theirs, ours = self._engine_fills(close), self._twin_fills(step)
        off = 0.0
        for engine, mine in zip(theirs, ours, strict=False):
            off = max(off, abs(engine[4] - mine[4]))
            same = engine[:2] == mine[:2] and off < HALF_CENT
            for place in (2, 3):
                same &= bool(np.isclose(engine[place], mine[place], rtol=RELATIVE, atol=0.0))
            if not same:
                return off, f"{when}: expected the fill {_told(engine)}, was {_told(mine)}"
        if len(theirs) != len(ours):
            more = [_told(f) for f in (theirs + ours)[min(len(theirs), len(ours)) :]]
            return off, (
                f"{when}: expected {len(theirs)} fills, was {len(ours)}: {'; '.join(more[:3])}"
            )
        for name, expected, was in (
            ("a balance", close.balance, float(twin.balance[BOOK])),
            ("an equity", close.equity, float(twin.equity[BOOK])),
        ):
            off = max(off, abs(expected - was))
            if not abs(expected - was) < HALF_CENT:  # which NaN is not
                return off, f"{when}: expected {name} of {expected:.6f}, was {was:.6f}"
        for symbol, expected, was in zip(
            self._symbols, close.quantity.tolist(), twin.quantity[BOOK].tolist(), strict=True
        ):
            if expected != was:
                return off, f"{when}: expected to hold {expected!r} {symbol}, was {was!r}"
        for name, known, seen in (
            ("weights of", close.weights, twin.weights[BOOK]),
            ("a drawdown of", close.drawdown, twin.drawdown[BOOK]),
            ("a risk-free return of", close.risk_free, step.risk_free[BOOK]),
        ):
            if not np.allclose(known, seen, rtol=0.0, atol=FRACTION):
                return off, f"{when}: expected {name} {known}, was {seen}"
        return off, ""

    def traded(self, close: Close, held: NDArray[np.bool_]) -> str:
        """Return in words the first order of a decision that asked to hold, "" for none."""
        for order in close.orders:
            if order.reason == "decision" and held[self._symbols.index(order.symbol)]:
                when, what = stamp_text(close.ts), f"{order.quantity:+.6f} {order.symbol}"
                return f"{when}: expected no order for what is held, was one of {what}"
        return ""

    def _engine_fills(self, close: Close) -> list[Fill]:
        fills = []
        for fill in close.fills:
            factor = self._factor(fill.symbol, fill.ts_event)
            fills.append(
                (
                    fill.ts_event,
                    fill.symbol,
                    fill.quantity / factor,
                    fill.price * factor,
                    fill.commission,
                )
            )
        return sorted(fills, key=lambda f: f[0])

    def _twin_fills(self, step: Step) -> list[Fill]:
        found: list[tuple[tuple[int, int, int], Fill]] = []
        for dispatch in step.dispatches:
            done = dispatch.fills
            for r in np.flatnonzero(dispatch.book == BOOK).tolist():
                ts = int(dispatch.ts[r])
                for i, part in np.argwhere(done.quantity[r]).tolist():
                    at = r, i, part
                    quantity, price = float(done.quantity[at]), float(done.price[at])
                    fill = ts, self._symbols[i], quantity, price, float(done.fee[at])
                    found.append(((ts, int(dispatch.rank[r, i]), part), fill))
        return [fill for _, fill in sorted(found)]

    def _factor(self, symbol: str, ts: int) -> float:
        if symbol not in self._factors:
            return 1.0
        stamps, cumulative = self._factors[symbol]
        before = int(np.searchsorted(stamps, ts, side="right"))
        return float(cumulative[before - 1]) if before else 1.0


def _told(fill: Fill) -> str:
    ts, symbol, quantity, price, fee = fill
    return f"{quantity:+.6f} {symbol} at {price:.6f}, fee {fee:.4f}, {stamp_text(ts)}"
