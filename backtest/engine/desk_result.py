"""
Collects what a book leaves behind, and checks whether it may be believed.

A run fails, never quietly, if Nautilus logged an error, if its last processed stamp falls short
of the data's, or if the desk's ledger and Nautilus's positions differ.
"""

import atexit
import math
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.common.component import flush_logger, sync_logger_to_disk
from nautilus_trader.config import LoggingConfig

from agents.messages import Message
from backtest.market.market_data import MarketData
from backtest.results import PositionHistory, closed_trades, group_exposures
from config.errors import RunIncomplete
from strategies.desk import Desk

CUT_SHARE = 0.05  # of the orders, which a book at its capacity finds too large


@dataclass(frozen=True)
class Records:
    """Everything that was published, by message type and in order."""

    by_type: dict[type[Message], list[Message]] = field(default_factory=lambda: defaultdict(list))

    def take(self, message: Message) -> None:
        """Keep one message."""
        self.by_type[type(message)].append(message)

    def of[M: Message](self, kind: type[M]) -> tuple[M, ...]:
        """Return all messages of one type, in order."""
        return tuple(self.by_type[kind])  # type: ignore[arg-type]  # keyed by their own type


@dataclass(frozen=True)
class BookRun:
    """One book's history and records, and what the run must say about it."""

    book: PositionHistory
    records: Records
    cash_flows: dict[str, float]
    expired_decisions: int
    missed_decisions: int  # the mind failed; only a live port goes on without one
    unpriced_routes: int
    open_routes: int
    news_left_out: int  # of cases that held as many newer ones as they show
    capacity: float | None  # in the account's currency; None where no order had a known volume


class EngineLog:
    """The errors that Nautilus logs from now on; its logger is one for the whole process."""

    def __init__(self) -> None:
        self._path = _log_path()
        flush_logger()
        sync_logger_to_disk()
        self._already = self._path.stat().st_size if self._path.exists() else 0

    @property
    def config(self) -> LoggingConfig:
        """What an engine or a node is to log: errors, to the file."""
        return LoggingConfig(
            log_level="OFF",
            log_level_file="ERROR",
            log_directory=str(self._path.parent),
            log_file_name=self._path.stem,
            log_colors=False,
        )

    def check(self) -> None:
        """Raise RunIncomplete if an error was logged."""
        flush_logger()
        sync_logger_to_disk()
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._already)
            lines = file.read().decode(errors="replace").splitlines()
        if lines:
            raise RunIncomplete(f"expected no engine error, was {len(lines)}: {lines[0]}")


@cache
def _log_path() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="quarterdeck-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "engine.log"


def check_end(portfolio: Any, desk: Desk, market: MarketData) -> None:
    """Raise RunIncomplete if the data were not all seen, or the positions are not as booked."""
    last = int(market.bars["ts_close"].iloc[-1])
    if desk.last_ts < last:
        raise RunIncomplete(f"expected the run to reach {last}, was stopped at {desk.last_ts}")
    for i, instrument_id in enumerate(desk.universe.ids):
        position = float(portfolio.net_position(instrument_id))
        if not math.isclose(position, desk.ledger.quantity[i], rel_tol=1e-9, abs_tol=1e-9):
            raise RunIncomplete(
                f"expected {desk.ledger.quantity[i]} {instrument_id} as booked, was {position}"
            )


def book_run(
    desk: Desk,
    market: MarketData,
    records: Records,
    cash_flows: dict[str, float],
    *,
    name: str,
    missed_decisions: int = 0,
) -> BookRun:
    """Return a book that has run to its end."""
    history, sizes = desk.history, desk.history.capacity
    weights = np.array(history.weights).reshape(-1, len(market.instruments))
    return BookRun(
        book=PositionHistory(
            name=name,
            gate="full",
            ts=np.array(history.ts, dtype=np.int64),
            equity=np.array(history.equity),
            gross=np.abs(weights).sum(axis=1),
            turnover=np.array(history.turnover),
            costs=np.array(history.costs),
            var_frac=np.array(history.var_frac),
            exposures=group_exposures(market.instruments, weights),
            trades=closed_trades(market.instruments, desk.ledger.round_trips),
        ),
        records=records,
        cash_flows=cash_flows,
        expired_decisions=desk.dropped_decisions + int(desk.gate.state.expired[0]),
        missed_decisions=missed_decisions,
        unpriced_routes=desk.outcomes.unpriced,
        open_routes=desk.outcomes.open_routes,
        news_left_out=desk.cases.news_left_out,
        # the equity at which one order in twenty would be cut for its size
        capacity=float(np.quantile(sizes, CUT_SHARE)) if sizes else None,
    )
