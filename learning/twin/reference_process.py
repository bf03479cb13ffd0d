"""
References run in a process of their own, beside the hierarchy's book in the engine.

The process is started anew, so that it shares nothing with the engine; it is given the market
without news and reports, which no reference reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from types import TracebackType
from typing import Self

from backtest.market.market_data import MarketData
from backtest.references import Reference
from backtest.results import PositionHistory
from config.errors import RunIncomplete
from config.settings import Settings
from learning.child_process import begin
from learning.twin.reference_books import run_references


class Aside:
    """A process for references; leaving the context ends it."""

    def __enter__(self) -> Self:
        """Make the place for a process, which starts with the first references."""
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what runs, and cancel what does not yet."""
        self._pool.shutdown(cancel_futures=True)

    def start(
        self,
        market: MarketData,
        settings: Settings,
        decide_from: int,
        references: Sequence[Reference],
    ) -> Callable[[], tuple[PositionHistory, ...]]:
        """Let references run, and return what waits for their books, in their order."""
        slim = replace(market, news=(), fundamentals=())
        future = self._pool.submit(run_references, slim, settings, decide_from, references)
        return lambda: _books(future)


def _books(future: Future[tuple[PositionHistory, ...]]) -> tuple[PositionHistory, ...]:
    try:
        return future.result()
    except BrokenProcessPool as e:
        raise RunIncomplete("expected the reference books, was a process that was ended") from e
