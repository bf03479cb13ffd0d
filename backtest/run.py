"""
A backtest: the hierarchy and the baselines over one market, from one named start state.

`backtest.plan` says what will be run and under which `run_id`; `run_backtest` runs it. It knows
no store and no files: `ops` hands in a writer and writes what comes back.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from agents.arrays import FloatArray, IntArray
from agents.messages import Decision, FillRecord, OrderRecord, Outcome, Verdict
from agents.protocols import ExperienceWriter, Mind
from backtest.engine.book_spec import BookSpec
from backtest.engine.desk_result import BookRun
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData
from backtest.market.rules import YEAR_NS, rates_known, risk_free_rates
from backtest.plan import RunPlan
from backtest.references import ReferenceRunner, StartReferences, baselines, variants
from backtest.report.notes import run_notes
from backtest.report.silence import why_no_orders
from backtest.results import RunResult

HIERARCHY = "hierarchy"


class RunBook(Protocol):
    """How a book is run: `backtest.engine.run_book.run_book` says what of."""

    def __call__(
        self,
        spec: BookSpec,
        mind: Mind,
        *,
        writer: ExperienceWriter | None = None,
        on_session: Callable[[int], None] | None = None,
    ) -> BookRun:
        """Run one mind over a book's market and return the book."""
        ...


def run_backtest(
    plan: RunPlan,
    *,
    run_references: ReferenceRunner,
    start_references: StartReferences | None = None,
    writer: ExperienceWriter | None = None,
    on_session: Callable[[str, int], None] | None = None,
    run_own: RunBook = run_book,
) -> RunResult:
    """
    Run a plan. `on_session` is called with the book's name and each session's stamp.

    `run_own` runs the plan's own book, `run_references` the books that stand beside it, and
    `start_references`, where it is given, half of them meanwhile.
    Raises RunIncomplete when a book did not get to the end of the data.
    """
    settings, market = plan.settings, plan.market
    start = start_references or _later(run_references)
    beside = partial(start, market, settings, plan.decide_from)
    rules = beside(baselines(settings.limits))
    own = run_own(
        BookSpec(HIERARCHY, market, settings, plan.decide_from),
        plan.mind,
        writer=writer,
        on_session=None if on_session is None else partial(on_session, HIERARCHY),
    )
    decisions, verdicts = own.records.of(Decision), own.records.of(Verdict)
    orders = own.records.of(OrderRecord)
    replays = variants(HIERARCHY, decisions, settings.limits)
    half = beside(replays[: len(replays) // 2])
    progress = None if on_session is None else partial(on_session, "references")
    other = run_references(
        market, settings, plan.decide_from, replays[len(replays) // 2 :], progress
    )
    own_again, passive = (*half(), *other), rules()
    silent = "" if orders else why_no_orders(market, settings, decisions, verdicts)
    return RunResult(
        run_id=plan.run_id,
        book=own.book,
        variants=own_again,
        baselines=passive,
        risk_free=risk_free_returns(market, own.book.ts, settings.market.currency),
        sessions_per_year=market.sessions_per_year,
        max_var=settings.limits.max_var,
        expired_decisions=own.expired_decisions,
        capacity=own.capacity,
        currency=settings.market.currency,
        no_orders=silent,
        decisions=decisions,
        verdicts=verdicts,
        orders=orders,
        fills=own.records.of(FillRecord),
        outcomes=own.records.of(Outcome),
        manifest={
            **plan.manifest,
            "end_state_digest": plan.mind.digest,
            "cash_flows": own.cash_flows,
        },
        notes=run_notes(plan, own, (own.book, *own_again, *passive)),
    )


def _later(run: ReferenceRunner) -> StartReferences:
    """Return what runs references in this process, when their books are asked for."""
    return lambda market, settings, decide_from, references: partial(
        run, market, settings, decide_from, references
    )


def risk_free_returns(market: MarketData, ts: IntArray, currency: str) -> FloatArray:
    """Return each session's interest (act/365), a fraction, at the rate known at its start."""
    returns = np.zeros(len(ts))
    rates = rates_known(risk_free_rates(market, currency), ts[:-1])
    returns[1:] = rates / 100 * np.diff(ts) / YEAR_NS
    return returns
