"""
The paper command: stored data replayed to the desk in a Nautilus TradingNode, with sandbox fills.

It joins what the backtest joins - source, minds, library, report - and differs in who runs the
book: a live node, by way of the asynchronous port. The baselines beside it are backtests.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from agents.protocols import ExperienceWriter
from backtest.market.market_data import MarketData
from backtest.plan import RunPlan, plan_run
from backtest.report.printed_table import print_table
from backtest.results import RunResult
from backtest.run import run_backtest
from backtest.statistics.summary import results_json
from config.paths import check_place
from config.settings import Settings
from learning.experience.library import open_library
from learning.twin.reference_books import run_references
from live.node import run_paper_book
from ops.composition.model_minds import build_mind, open_models
from ops.composition.preconditions import RUNS
from ops.composition.recorded_run import run_recorded
from ops.composition.source import Chosen, with_span


@dataclass(frozen=True)
class PaperRequest:
    """
    What the command line asked for; `speed` is how many times faster than the data's own time.

    `market` and `start_ns` are what `open_market` returned, `chosen` says who chose the dates.
    """

    settings: Settings
    market: MarketData
    start_ns: int | None
    chosen: Chosen
    library: str
    out: Path | None
    speed: float
    completions: Path | None = None


def run(request: PaperRequest, *, as_json: bool) -> None:
    """Run a paper session as asked and show its results."""
    console = Console(stderr=as_json)
    settings, market, start_ns = request.settings, request.market, request.start_ns
    with (
        open_library(request.library) as library,
        open_models(settings, request.completions) as models,
    ):
        completions = None if models is None else models.fix(secrets.token_hex(8))
        mind = build_mind(
            settings,
            backend=None if models is None else models.backend,
            instruments=market.instruments,
            source=market.name,
        )
        plan = plan_run(
            market, settings, mind, "fresh", start_ns, mode="paper", completions=completions
        )
        plan = with_span(plan, request.chosen)
        out = request.out or RUNS / plan.run_id
        check_place(out)
        execute = partial(_execute, speed=request.speed)
        _, summary = run_recorded(plan, execute, library, out, console, models)
    if as_json:
        print(json.dumps(results_json(summary)))
        return
    print_table(summary, console)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def _execute(
    plan: RunPlan,
    writer: ExperienceWriter,
    on_session: Callable[[str, int], None],
    *,
    speed: float,
) -> RunResult:
    return run_backtest(
        plan,
        run_references=run_references,
        writer=writer,
        on_session=on_session,
        run_own=partial(run_paper_book, speed=speed),
    )
