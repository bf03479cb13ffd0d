"""
A backtest: the hierarchy and the baselines over one market, from one named start state.

`plan_run` says what will be run and under which `run_id`; `run_backtest` runs it. It knows no
store and no files: `ops` hands in a writer and writes what comes back.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np

from agents.baselines import BASELINES
from agents.messages import JUNIORS, Decision, FillRecord, OrderRecord, Outcome, Verdict
from agents.protocols import ExperienceWriter, LearningMind, Mind
from backtest.desk_result import BookRun
from backtest.engine import run_book
from backtest.feed import Feed, make_feed
from backtest.identity import Completions, RunMode, run_id_of, run_identity
from backtest.market import MarketData, window
from backtest.policies import allocator_notes, check_policies, overlaps, policy_facts
from backtest.results import FloatArray, IntArray, RunResult
from backtest.rules import YEAR_NS
from backtest.sessions import stamp_text
from config.settings import UNLIMITED, LimitSettings, Settings

BASELINE_LIMITS = "baselines run twice: under the hierarchy's gate, and with gross alone limited"


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
        gated: bool,
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

    @property
    def books(self) -> int:
        """How many books are run."""
        return 1 + 2 * len(BASELINES)


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
    writer: ExperienceWriter | None = None,
    on_session: Callable[[str, int], None] | None = None,
    run_own: RunBook = run_book,
) -> RunResult:
    """
    Run a plan. `on_session` is told the book's name and each session's stamp.

    `run_own` runs the plan's own book; the baselines are backtests whoever does.
    Raises RunIncomplete when a book did not get to the end of the data.
    """
    settings, market = plan.settings, plan.market
    feed = make_feed(market, settings.market, plan.decide_from)

    def run(
        run_book: RunBook, mind: Mind, name: str, gated: bool, writer: ExperienceWriter | None
    ) -> BookRun:
        return run_book(
            market,
            feed,
            settings,
            mind,
            name=name,
            limits=settings.limits if gated else UNLIMITED,
            gated=gated,
            decide_from=plan.decide_from,
            writer=writer,
            on_session=None if on_session is None else lambda ts: on_session(name, ts),
        )

    own = run(run_own, plan.mind, "hierarchy", True, writer)
    baselines = [
        run(run_book, make(), make().name, gated, None).book
        for make in BASELINES
        for gated in (False, True)
    ]
    return RunResult(
        run_id=plan.run_id,
        book=own.book,
        baselines=tuple(baselines),
        risk_free=risk_free_returns(market, own.book.ts),
        decisions=own.records.of(Decision),
        verdicts=own.records.of(Verdict),
        orders=own.records.of(OrderRecord),
        fills=own.records.of(FillRecord),
        outcomes=own.records.of(Outcome),
        manifest={
            **plan.manifest,
            "end_state_digest": plan.mind.digest,
            "cash_flows": own.cash_flows,
        },
        notes=_notes(plan, own),
    )


def warmup_sessions(settings: Settings) -> int:
    """Return how many sessions before the first decision the features are given."""
    return settings.desk.panel_sessions + 1


def risk_free_returns(market: MarketData, ts: IntArray) -> FloatArray:
    """Return each session's interest (act/365), a fraction, at the rate known at its start."""
    known = np.array([m.ts_init for m in market.macro if m.series == "risk_free"], dtype=np.int64)
    rates = np.array([0.0] + [m.value for m in market.macro if m.series == "risk_free"])
    returns = np.zeros(len(ts))
    at = np.searchsorted(known, ts[:-1], side="right")
    returns[1:] = rates[at] / 100 * np.diff(ts) / YEAR_NS
    return returns


def _notes(plan: RunPlan, own: BookRun) -> tuple[str, ...]:
    market, settings = plan.market, plan.settings
    notes = []
    if plan.manifest["learned_until"] >= plan.decide_from:
        until, first = stamp_text(plan.manifest["learned_until"]), stamp_text(plan.decide_from)
        notes.append(
            f"OVERLAP: the start state learned until {until}, this run decides from {first} on: "
            "its results are no evidence"
        )
    notes += overlaps(plan.mind.policies, market, plan.decide_from)
    notes += market.notes
    notes += allocator_notes(plan.mind.policies, market)
    notes.append(_minds_note(plan.mind))
    if not any(m.series == "risk_free" for m in market.macro):
        notes.append("no risk-free rate in the data: idle cash earns nothing, excess is over zero")
    notes.append(
        f"costs: {settings.market.cost_frac:.4f} of notional per fill unless the instrument has "
        f"its own, {settings.market.spread_bps:g} bps spread, slippage of a tick with "
        f"probability {settings.market.slippage_probability:g}"
    )
    own_costs = _own_costs(market.instruments)
    if own_costs:
        notes.append(f"own costs (bps per fill): {own_costs}")
    if own.missed_decisions:
        notes.append(f"{own.missed_decisions} decisions were missed: the mind failed")
    if own.dropped_decisions:
        notes.append(f"{own.dropped_decisions} decisions arrived after their expiry")
    if own.unpriced_routes:
        notes.append(f"{own.unpriced_routes} routes had no price before their horizon's end")
    if own.open_routes:
        notes.append(f"{own.open_routes} routes were open at the end and have no outcome")
    notes.append(BASELINE_LIMITS)
    return tuple(notes)


def _minds_note(mind: LearningMind) -> str:
    untrained = sorted(
        role
        for role, model in mind.models.items()
        if role in ("strategist", *JUNIORS) and "rules/" not in model and "+" not in model
    )
    if untrained:
        return (
            f"minds: {mind.name}; UNTRAINED language models ({', '.join(untrained)}): no adapter, "
            "so their opinions bind to the schema and mean nothing yet"
        )
    spoken = any("+" in mind.models[role] for role in ("strategist", *JUNIORS))
    return f"minds: {mind.name}, " + ("trained" if spoken else "rule-backed; no trained model")


def _own_costs(instruments: Sequence[Any]) -> str:
    return ", ".join(f"{i.symbol} {i.cost_bps:g}" for i in instruments if i.cost_bps is not None)
