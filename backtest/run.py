"""
A backtest: the hierarchy and the baselines over one market, from one named start state.

`plan_run` says what will be run and under which `run_id`; `run_backtest` runs it. It knows no
store and no files: `ops` hands in a writer and writes what comes back.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
import numpy as np

from agents.messages import Decision, FillRecord, OrderRecord, Outcome, Verdict
from agents.protocols import ExperienceWriter, LearningMind, Mind
from backtest.desk_result import BookRun
from backtest.engine import run_book
from backtest.feed import Feed, make_feed
from backtest.identity import Completions, RunMode, run_id_of, run_identity
from backtest.market import MarketData, window
from backtest.notes import run_notes
from backtest.policies import check_policies, policy_facts
from backtest.references import ReferenceRunner, StartReferences, baselines, variants
from backtest.results import FloatArray, IntArray, RunResult
from backtest.rules import YEAR_NS, rates_known, riskless_rates
from backtest.sessions import stamp_text
from backtest.silence import why_no_orders
from config.errors import DataError
from config.settings import LimitSettings, Settings

HIERARCHY = "hierarchy"


class RunBook(Protocol):
    """How a book is run: `backtest.engine.run_book` says what of."""

    def __call__(
        self,
        market: MarketData,
        feed: Feed,
        settings: Settings,
        mind: Mind,
        *,
        name: str,
        limits: LimitSettings,
        decide_from: int,
        writer: ExperienceWriter | None = None,
        on_session: Callable[[int], None] | None = None,
    ) -> BookRun:
        """Run one mind over a market and return its book."""
        ...


@dataclass(frozen=True)
class RunPlan:
    """What will be run: the windowed market, the first deciding stamp and the run's identity."""

    market: MarketData
    settings: Settings
    mind: LearningMind
    decide_from: int
    run_id: str
    manifest: dict[str, Any]

    @property
    def sessions(self) -> int:
        """How many sessions each book goes through."""
        return len(self.market.session_closes)


def plan_run(
    market: MarketData,
    settings: Settings,
    mind: LearningMind,
    start_state: str,
    start_ns: int | None,
    *,
    mode: RunMode = "backtest",
    completions: Completions | None = None,
) -> RunPlan:
    """
    Return the plan of a run that decides from `start_ns` on.

    `start_state` names the state that `mind` was built on, `mode` who runs the book;
    `completions` says where language models' answers may come from. What makes the run's
    identity is in `backtest.identity`.
    Raises ConfigError where the mind's policies were not trained on the market's groups.
    """
    kept, decide_from = window(market, start_ns, warmup_sessions(settings))
    if decide_from == kept.session_closes[-1]:
        raise DataError(
            f"expected a session to trade in after {stamp_text(decide_from)}, the first that "
            f"decides, was the last of {market.name}"
        )
    check_policies(mind.policies, kept)
    identity = run_identity(
        mode=mode,
        data_digest=kept.digest,
        decide_from=decide_from,
        settings=settings,
        mind=mind,
        completions=completions,
    )
    run_id = run_id_of(identity)
    manifest = {
        "run_id": run_id,
        **identity,
        "start_state": start_state,
        "learned_until": mind.learned_until,
        "policies": policy_facts(mind.policies),
        "data": {
            "name": market.name,
            "digest": kept.digest,
            "source_digest": market.source_digest,
            "price_basis": market.price_basis,
        },
        "instruments": msgspec.to_builtins(kept.instruments),
        "python": platform.python_version(),
        "config": msgspec.to_builtins(settings),
    }
    return RunPlan(kept, settings, mind, decide_from, run_id, manifest)


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
    Run a plan. `on_session` is told the book's name and each session's stamp.

    `run_own` runs the plan's own book, `run_references` the books that stand beside it, and
    `start_references`, where it is given, half of them meanwhile.
    Raises RunIncomplete when a book did not get to the end of the data.
    """
    settings, market = plan.settings, plan.market
    start = start_references or _later(run_references)
    beside = partial(start, market, settings, plan.decide_from)
    rules = beside(baselines(settings.limits))
    own = run_own(
        market,
        make_feed(market, settings.market, plan.decide_from),
        settings,
        plan.mind,
        name=HIERARCHY,
        limits=settings.limits,
        decide_from=plan.decide_from,
        writer=writer,
        on_session=None if on_session is None else partial(on_session, HIERARCHY),
    )
    decisions, verdicts = own.records.of(Decision), own.records.of(Verdict)
    orders = own.records.of(OrderRecord)
    replays = variants(HIERARCHY, decisions, settings.limits)
    half = beside(replays[: len(replays) // 2])
    told = None if on_session is None else partial(on_session, "references")
    other = run_references(market, settings, plan.decide_from, replays[len(replays) // 2 :], told)
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
        capacity_usd=own.capacity,
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


def warmup_sessions(settings: Settings) -> int:
    """Return how many sessions before the first decision the features are given."""
    return settings.desk.panel_sessions + 1


def _later(run: ReferenceRunner) -> StartReferences:
    """Return what runs references in this process, when their books are asked for."""
    return lambda market, settings, decide_from, references: partial(
        run, market, settings, decide_from, references
    )


def risk_free_returns(market: MarketData, ts: IntArray, currency: str) -> FloatArray:
    """Return each session's interest (act/365), a fraction, at the rate known at its start."""
    returns = np.zeros(len(ts))
    rates = rates_known(riskless_rates(market, currency), ts[:-1])
    returns[1:] = rates / 100 * np.diff(ts) / YEAR_NS
    return returns
