"""
What a run leaves behind, in memory: the books' histories and the hierarchy's own records.

`run` makes it, `statistics` measures it and `report` shows it. Session rows are stamped
at session closes; the first row is the starting cash at the close before the first decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from agents.arrays import FloatArray, IntArray
from agents.messages import (
    Decision,
    FillRecord,
    Instrument,
    OrderReason,
    OrderRecord,
    Outcome,
    Verdict,
)
from strategies.ledger import RoundTrip

type Gate = Literal["full", "no_stop", "gross_only"]  # which limits a book was run under


@dataclass(frozen=True)
class ClosedTrade:
    """A round trip, opened and closed: profit net of commissions, in the account's currency."""

    symbol: str
    ts_open: int
    ts_close: int
    profit: float
    exit: OrderReason


@dataclass(frozen=True)
class PositionHistory:
    """
    One trader's history, a row a session.

    `name` is the strategy's, "hierarchy" or "buy-and-hold". `stress` says what was made worse than
    the settings have it, "0.3% a fill"; empty otherwise.

    Shapes: ts, equity, gross, turnover, costs, var_frac (T,); exposures[group] (T,).
    `gross` and `exposures` are fractions of equity at the close (exposures signed); `turnover`
    is traded notional over equity in that session; `costs` are that session's commissions, in
    the account's currency; `var_frac[t]` is the one-day 99% VaR of the book held at close t, a
    positive fraction of equity (NaN while history is too short), for comparison with the return
    of session t + 1.
    """

    name: str
    gate: Gate
    ts: IntArray
    equity: FloatArray
    gross: FloatArray
    turnover: FloatArray
    costs: FloatArray
    var_frac: FloatArray
    exposures: dict[str, FloatArray]
    trades: tuple[ClosedTrade, ...]
    stress: str = ""


def group_exposures(
    instruments: Sequence[Instrument], weights: FloatArray
) -> dict[str, FloatArray]:
    """Return each group's signed exposure (T,) from weights (T, N), groups sorted by name."""
    groups = sorted({i.group for i in instruments})
    of_group = np.array([[i.group == g for g in groups] for i in instruments], float)
    exposure = weights @ of_group
    return {g: exposure[:, k] for k, g in enumerate(groups)}


def closed_trades(
    instruments: Sequence[Instrument], round_trips: Sequence[RoundTrip]
) -> tuple[ClosedTrade, ...]:
    """Return a ledger's round trips by symbol, in their order."""
    return tuple(
        ClosedTrade(instruments[t.index].symbol, t.ts_open, t.ts_close, t.profit, t.exit)
        for t in round_trips
    )


class RoleCalls(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one role asked of its language model.

    `requests` are answers and failures, `failures` are counted by kind and their tokens stand
    apart. Latencies are those that the answers carry, so that a replay reports its recording's.
    """

    rounds: int
    requests: int
    answers: int
    streams: int
    failures: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    failed_tokens: int
    forward_passes: int
    latency_seconds: float
    latency_p50_seconds: float
    latency_p95_seconds: float


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """What a run asked of its language models, by role."""

    rounds: int
    max_rounds_of_decision: int
    roles: dict[str, RoleCalls]


@dataclass(frozen=True)
class RunResult:
    """
    One run: the hierarchy's book, the baselines' books on the same data, and all records.

    `variants` are the hierarchy's own decisions, replayed: under other gates and under stress.
    `risk_free` (T,) is the risk-free return of each session (first row 0). `sessions_per_year`
    are the calendar's. `max_var` is the limit of the one-day VaR, a fraction of equity.
    `capacity` is the equity at which the book's orders reach 10% of the mean daily volume, in the
    account's `currency`, None where no volume is known. `no_orders` says why no order was
    sent, "" where some were; it and `notes` are lines that the report shows first. `manifest` is
    what `manifest.json` will hold.
    """

    run_id: str
    book: PositionHistory
    baselines: tuple[PositionHistory, ...]
    risk_free: FloatArray
    decisions: tuple[Decision, ...]
    verdicts: tuple[Verdict, ...]
    orders: tuple[OrderRecord, ...]
    fills: tuple[FillRecord, ...]
    outcomes: tuple[Outcome, ...]
    manifest: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
    calls: Calls | None = None  # of language models; None where none was asked
    variants: tuple[PositionHistory, ...] = ()
    sessions_per_year: int = 252
    max_var: float = 0.02
    expired_decisions: int = 0
    capacity: float | None = None
    currency: str = "USD"
    no_orders: str = ""

    @property
    def books(self) -> tuple[PositionHistory, ...]:
        """The hierarchy, its variants and the baselines, in the order of the report."""
        return (self.book, *self.variants, *self.baselines)
