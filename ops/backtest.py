"""
The backtest command: source, minds, library, run and report, joined.

The experience library holds each session as it ends; a run that is interrupted leaves whole
sessions there, under a status that says so, and the same run again adds what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    track,
)

from backtest.market import MarketData
from backtest.output import check_place, write_run
from backtest.run import RunPlan, plan_run, run_backtest
from backtest.sessions import DAY_NS, parse_day
from backtest.sources import open_source
from backtest.statistics import ROOT_YEAR, summarise
from backtest.table import print_table
from backtest.walk import WalkForwardMind, fit, windows_of
from config.settings import Settings
from learning.experience.library import Library, RunInfo, open_library
from learning.experience.scoring import ScoringWriter
from ops.minds import build_mind


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    settings: Settings
    library: str
    state: Path | None
    out: Path | None
    walk_forward: bool


def run(request: Request, *, as_json: bool) -> None:
    """Run a backtest as asked and show its results."""
    console = Console(stderr=as_json)
    settings = request.settings
    market = open_source(
        settings.data.source,
        start=settings.data.start,
        end=settings.data.end,
        symbols=settings.data.symbols,
        seed=settings.seed,
    )
    plan = _plan(request, market, console)
    out = request.out or Path("runs") / plan.run_id
    check_place(out)
    with open_library(request.library) as library:
        summary = _run_recorded(plan, library, out, console)
    if as_json:
        print(json.dumps(summary))
    else:
        print_table(summary, console)
        console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def _plan(request: Request, market: MarketData, console: Console) -> RunPlan:
    """Return the plan; for a walk-forward, after each window's mind has learned."""
    settings = request.settings
    start = settings.data.start
    start_ns = None if start is None else parse_day(start, "start") * DAY_NS
    state_name = (
        "fresh"
        if request.state is None
        else "/".join(request.state.resolve().parts[-2:])  # the run's folder, wherever it lies
    )
    if not request.walk_forward:
        mind = build_mind(settings, request.state)
        return plan_run(market, settings, mind, state_name, start_ns)
    windows = windows_of(market, settings, start_ns)
    minds = [
        fit(market, settings, split, lambda: build_mind(settings, request.state))
        for split in track(
            windows, "learning windows", console=console, disable=not console.is_terminal
        )
    ]
    walker = WalkForwardMind(windows, minds)
    return plan_run(
        market, settings, walker, f"walk-forward from {state_name}", windows[0].test_start_ns
    )


@contextmanager
def _progress(plan: RunPlan, console: Console) -> Iterator[Callable[[str, int], None]]:
    """Show how far the run's books have come; yields what to call at each session."""
    with Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=plan.books * plan.sessions)

        def on_session(book: str, _: int) -> None:
            progress.update(task, description=book, advance=1)

        yield on_session


def _run_recorded(plan: RunPlan, library: Library, out: Path, console: Console) -> dict[str, Any]:
    """Run a plan with every record of its book in the library; write its files."""
    writer = ScoringWriter(library.writer(_run_info(plan), created_at=time.time_ns()))
    try:
        with _progress(plan, console) as on_session:
            result = run_backtest(plan, writer=writer, on_session=on_session)
        earlier = library.trial_sharpes(plan.manifest["data_digest"], besides=plan.run_id)
        summary = summarise(result, seed=plan.settings.seed, prior_trial_sharpes=earlier)
        write_run(result, summary, out, plan.mind.save)
    except KeyboardInterrupt:
        library.finish_run(plan.run_id, "interrupted")
        raise
    except Exception:
        library.finish_run(plan.run_id, "failed")
        raise
    yearly = summary["books"][0]["figures"]["sharpe"]
    library.finish_run(plan.run_id, "completed", None if yearly is None else yearly / ROOT_YEAR)
    return summary


def _run_info(plan: RunPlan) -> RunInfo:
    manifest = plan.manifest
    return RunInfo(
        run_id=plan.run_id,
        name=plan.market.name,
        config=msgspec.json.encode(plan.settings).decode(),
        data_digest=manifest["data_digest"],
        code_version=manifest["code"],
        seed=plan.settings.seed,
        start_state=manifest["start_state_digest"],
        manifest=msgspec.json.encode(manifest).decode(),
    )
