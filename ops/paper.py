"""
The paper command: stored data replayed to the desk in a Nautilus TradingNode, with sandbox fills.

It joins what the backtest joins - source, minds, library, report - and differs in who runs the
book: a live node, by way of the asynchronous port. The baselines beside it are backtests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from agents.protocols import ExperienceWriter
from backtest.output import check_place
from backtest.results import RunResult
from backtest.run import RunPlan, plan_run, run_backtest
from backtest.table import print_table
from config.errors import ConfigError
from config.settings import Settings
from learning.experience.library import open_library
from live.node import run_paper_book
from ops.minds import build_mind, open_models
from ops.recorded import run_recorded
from ops.source import open_market


@dataclass(frozen=True)
class PaperRequest:
    """What the command line asked for; `speed` as `parse_speed` returns it."""

    settings: Settings
    library: str
    out: Path | None
    speed: float
    completions: Path | None = None


def parse_speed(text: str) -> float:
    """
    Return how many times faster than the data's own time a replay may go; inf for `max`.

    Raises ConfigError for anything but `max` or a positive number.
    """
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ConfigError(f"expected --speed max or a positive number, was {text!r}")
    return speed


def run(request: PaperRequest, *, as_json: bool) -> None:
    """Run a paper session as asked and show its results."""
    console = Console(stderr=as_json)
    settings = request.settings
    market, start_ns = open_market(settings)
    with (
        open_library(request.library) as library,
        open_models(settings, request.completions) as models,
    ):
        mind = build_mind(
            settings,
            backend=None if models is None else models.backend,
            instruments=market.instruments,
            source=market.name,
        )
        plan = plan_run(market, settings, mind, "fresh", start_ns, mode="paper")
        out = request.out or Path("runs") / plan.run_id
        check_place(out)
        execute = partial(_execute, speed=request.speed)
        _, summary = run_recorded(plan, execute, library, out, console, models)
    if as_json:
        print(json.dumps(summary))
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
        plan, writer=writer, on_session=on_session, run_own=partial(run_paper_book, speed=speed)
    )
