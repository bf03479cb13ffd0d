"""
Reference books, lived in the twin: many at once, with the engine's fills to the cent.

Each reads the stream of slippage from its start, as an engine does, so that a book here is the
book that the desk in the engine would have had (`tests/parity`). Books that share limits and fees
live in one batch. It knows no reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import msgspec
import numpy as np

from agents.arrays import FloatArray
from agents.baselines import Baseline, View
from agents.gate.state import EXITS
from agents.messages import OrderReason
from backtest.market.market_data import MarketData
from backtest.references import Reference
from backtest.results import PositionHistory, closed_trades, group_exposures
from config.settings import Settings
from learning.twin.market_arrays import MarketArrays, make_market_arrays
from learning.twin.step import Dispatch, Step
from learning.twin.twin import Twin
from strategies.ledger import Ledger


def run_references(
    market: MarketData,
    settings: Settings,
    decide_from: int,
    references: Sequence[Reference],
    on_session: Callable[[int], None] | None = None,
) -> tuple[PositionHistory, ...]:
    """
    Return the references' books from the close `decide_from` on, in their order.

    `on_session` takes each close of each batch. Raises DataError for a market whose bars do not
    lie in sessions one after the other.
    """
    market_arrays = make_market_arrays([market], settings)
    start = market.session_closes.index(decide_from)

    def alike(k: int) -> tuple[bytes, str]:
        one = references[k]
        return msgspec.json.encode(one.limits, order="deterministic"), repr(one.fee_frac)

    books: dict[int, PositionHistory] = {}
    for _, group in groupby(sorted(range(len(references)), key=alike), key=alike):
        places = list(group)
        batch = [references[k] for k in places]
        run = _Batch(market, market_arrays, settings, batch, start)
        books |= dict(zip(places, run.live(on_session), strict=True))
    return tuple(books[k] for k in range(len(references)))


class _Batch:
    """Books that live under the same limits and fees."""

    def __init__(
        self,
        market: MarketData,
        market_arrays: MarketArrays,
        settings: Settings,
        references: Sequence[Reference],
        start: int,
    ) -> None:
        first = references[0]
        if first.fee_frac is not None:
            market_arrays = replace(
                market_arrays, fee_frac=np.full_like(market_arrays.fee_frac, first.fee_frac)
            )
        settings = msgspec.structs.replace(settings, limits=first.limits)
        size = len(references)
        self._market, self._market_arrays, self._settings = market, market_arrays, settings
        self._references, self._start = references, start
        self._twin = Twin(market_arrays, settings, size, record=True)
        self._twin.reset(np.zeros(size, np.int64), np.full(size, start), settings.seed)
        self._ledgers = [Ledger(len(market.instruments)) for _ in references]
        self._asked = [_asker(one, market, settings, start) for one in references]

    def live(self, on_session: Callable[[int], None] | None) -> list[PositionHistory]:
        twin, market_arrays = self._twin, self._market_arrays
        sessions = market_arrays.sessions - self._start
        size, n = twin.quantity.shape
        equity, turnover, costs, var = np.zeros((4, sessions, size))
        weights = np.zeros((sessions, size, n))
        equity[0], var[0] = twin.equity, twin.var_frac
        for k in range(1, sessions):
            step = self._step()
            for dispatch in step.dispatches:
                self._book_fills(dispatch)
            equity[k], turnover[k], costs[k] = twin.equity, step.turnover, step.fees
            var[k], weights[k] = twin.var_frac, twin.weights
            if on_session is not None:
                on_session(int(market_arrays.ts_close[0, self._start + k]))
        return [
            self._book(b, equity[:, b], turnover[:, b], costs[:, b], var[:, b], weights[:, b])
            for b in range(size)
        ]

    def _step(self) -> Step:
        twin, t = self._twin, int(self._twin.t[0])
        asked = np.zeros_like(twin.weights)
        decides = np.zeros(len(asked), dtype=bool)
        latency = np.full(len(asked), self._settings.desk.latency_ns)
        first = max(1, t + 1 - self._settings.desk.panel_sessions)
        for b, ask in enumerate(self._asked):
            view = View(
                ts=int(self._market_arrays.ts_close[0, t]),
                priced=np.isfinite(self._market_arrays.last_close[0, t]),
                shortable=self._market_arrays.shortable,
                weights=twin.weights[b],
                returns=self._market_arrays.returns[0, first : t + 1],
            )
            answer = ask(view, t)
            if answer is not None:
                asked[b], latency[b], decides[b] = *answer, True
        return twin.step(asked, decides=decides, latency_ns=latency)

    def _book_fills(self, dispatch: Dispatch) -> None:
        """Book a dispatch's fills in the order in which they were made."""
        fills = dispatch.fills
        for r, b in enumerate(dispatch.book.tolist()):
            ledger = self._ledgers[b]
            ledger.rate = dispatch.rate[r]
            places = np.argwhere(fills.quantity[r])
            for i, part in places[np.argsort(dispatch.rank[r, places[:, 0]], kind="stable")]:
                at = r, int(i), int(part)
                reason: OrderReason = "limit" if dispatch.reduced[r, i] else "decision"
                ledger.fill(
                    int(i),
                    float(fills.quantity[at]),
                    float(fills.price[at]),
                    float(fills.fee[at]),
                    int(dispatch.ts[r]),
                    EXITS.get(int(dispatch.exits[r, i]), reason),
                )

    def _book(
        self,
        b: int,
        equity: FloatArray,
        turnover: FloatArray,
        costs: FloatArray,
        var: FloatArray,
        weights: FloatArray,
    ) -> PositionHistory:
        instruments, one = self._market.instruments, self._references[b]
        return PositionHistory(
            name=one.name,
            gate=one.gate,
            stress=one.stress,
            ts=self._market_arrays.ts_close[0, self._start :].copy(),
            equity=equity,
            gross=np.abs(weights).sum(axis=1),
            turnover=turnover,
            costs=costs,
            var_frac=var,
            exposures=group_exposures(instruments, weights),
            trades=closed_trades(instruments, self._ledgers[b].round_trips),
        )


type Answer = tuple[FloatArray, int]  # weights (N,) and how long the decision is on its way
type Ask = Callable[[View, int], Answer | None]


def _asker(one: Reference, market: MarketData, settings: Settings, start: int) -> Ask:
    """Return what a reference asks for at the close of a session; None: it does not decide."""
    policy, desk = one.policy, settings.desk
    if isinstance(policy, Baseline):
        rule = policy

        def by_rule(view: View, t: int) -> Answer | None:
            due = (t - start) % desk.decide_every_sessions == 0
            return (rule.targets(view), desk.latency_ns) if due else None

        return by_rule
    recorded = {decision.ts_event: decision for decision in policy}

    def by_record(view: View, t: int) -> Answer | None:
        decision = recorded.get(view.ts)
        if decision is None:
            return None
        asked = decision.allocation.weights
        weights = np.array([asked.get(symbol, 0.0) for symbol in market.symbols])
        return weights, decision.ts_init - decision.ts_event

    return by_record
