"""
The backtest command: source, minds, library, run and report, joined.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import track

from agents.protocols import ExperienceWriter
from backtest.market.market_data import MarketData
from backtest.plan import RunPlan, plan_run
from backtest.report.masking import verdict
from backtest.report.printed_table import print_table
from backtest.results import RunResult
from backtest.run import run_backtest
from backtest.statistics.summary import Summary, results_json
from backtest.walk_forward import WalkForwardMind, fit, windows_of
from config.paths import check_place
from config.settings import Settings
from learning.experience.library import open_library
from learning.twin.reference_books import run_references
from learning.twin.reference_process import Aside
from ops.composition.model_minds import Models, build_mind, open_models
from ops.composition.preconditions import RUNS
from ops.composition.recorded_run import run_recorded
from ops.composition.source import Chosen, with_span


@dataclass(frozen=True)
class Request:
    """
    What the command line asked for; `both` runs unmasked and masked, and compares.

    `market` and `start_ns` are what `open_market` returned, `chosen` says who chose the dates.
    """

    settings: Settings
    market: MarketData
    start_ns: int | None
    chosen: Chosen
    library: str
    state: Path | None
    out: Path | None
    walk_forward: bool
    completions: Path | None = None
    both: bool = False


def run(request: Request, *, as_json: bool) -> None:
    """Run a backtest as asked and show its results."""
    console = Console(stderr=as_json)
    settings = request.settings
    unmasked = None
    if request.both:
        named = request.out and request.out.with_name(f"{request.out.name}-unmasked")
        plain = replace(request, out=named, settings=_masked(settings, False))
        unmasked, _, _ = _run(plain, console, None)
        request = replace(request, settings=_masked(settings, True))
    _, summary, out = _run(request, console, unmasked)
    if as_json:
        print(json.dumps(results_json(summary)))
        return
    print_table(summary, console)
    if summary.masking is not msgspec.UNSET:
        console.print(verdict(summary.masking))
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def _run(
    request: Request, console: Console, unmasked: RunResult | None
) -> tuple[RunResult, Summary, Path]:
    with open_models(request.settings, request.completions) as models:
        plan = with_span(_plan(request, models, console), request.chosen, request.walk_forward)
        out = request.out or RUNS / plan.run_id
        check_place(out)
        with open_library(request.library) as library:
            result, summary = run_recorded(plan, _execute, library, out, console, models, unmasked)
    return result, summary, out


def _execute(
    plan: RunPlan, writer: ExperienceWriter, on_session: Callable[[str, int], None]
) -> RunResult:
    with Aside() as aside:
        return run_backtest(
            plan,
            run_references=run_references,
            start_references=aside.start,
            writer=writer,
            on_session=on_session,
        )


def _masked(settings: Settings, masking: bool) -> Settings:
    minds = msgspec.structs.replace(settings.minds, masking=masking)
    return msgspec.structs.replace(settings, minds=minds)


def _plan(request: Request, models: Models | None, console: Console) -> RunPlan:
    """Return the plan; for a walk-forward, after each window's mind has learned."""
    settings, market, start_ns = request.settings, request.market, request.start_ns
    state_name = (
        "fresh"
        if request.state is None
        else "/".join(request.state.resolve().parts[-2:])  # the run's folder, wherever it lies
    )
    backend = None if models is None else models.backend
    completions = None if models is None else models.fix(secrets.token_hex(8))

    def make_mind() -> Any:
        return build_mind(
            settings,
            request.state,
            backend=backend,
            instruments=market.instruments,
            source=market.name,
        )

    if not request.walk_forward:
        return plan_run(
            market, settings, make_mind(), state_name, start_ns, completions=completions
        )
    windows = windows_of(market, settings, start_ns)
    minds = [
        fit(market, settings, split, make_mind)
        for split in track(
            windows, "learning windows", console=console, disable=not console.is_terminal
        )
    ]
    walker = WalkForwardMind(windows, minds)
    return plan_run(
        market,
        settings,
        walker,
        f"walk-forward from {state_name}",
        windows[0].test_start_ns,
        completions=completions,
    )
