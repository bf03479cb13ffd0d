"""
Runs a backtest from market to report: models, mind, plan, the run itself, and its record.

It knows no command line; what it needs is in a request.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track

from agents.protocols import LearningMind
from backtest.plan import plan_run
from backtest.results import RunResult
from backtest.run import run_backtest
from backtest.walk_forward import WalkForwardMind, Window, fit, windows_of
from learning.twin.reference_books import run_references
from learning.twin.reference_process import Aside
from ops.composition.model_minds import Models, build_market_mind, open_models
from ops.composition.recorded_run import FinishedRun, record_run
from ops.composition.run_market import RunMarket, with_span


@dataclass(frozen=True)
class BacktestRequest:
    """
    What is to be run, and where its record goes.

    `library` is a path or a URL, `out` the run's folder (by default `runs/<run_id>`), `state` a
    snapshot to start on, `completions` the file that keeps language models' answers.
    """

    traded: RunMarket
    library: str
    out: Path | None = None
    state: Path | None = None
    completions: Path | None = None
    walk_forward: bool = False


def run_both(request: BacktestRequest, console: Console) -> FinishedRun:
    """Run a request unmasked, then masked, and return the masked run compared with the other."""
    beside = request.out and request.out.with_name(f"{request.out.name}-unmasked")
    unmasked = run(replace(_masked(request, False), out=beside), console)
    return run(_masked(request, True), console, unmasked.result)


def run(
    request: BacktestRequest, console: Console, unmasked: RunResult | None = None
) -> FinishedRun:
    """
    Run a request, and return what came of it, recorded and written.

    A masked run is compared with its `unmasked` twin where that is given.
    """
    traded = request.traded
    market, settings, start_ns = traded.market, traded.settings, traded.start_ns
    with open_models(settings, request.completions) as models:
        completions = None if models is None else models.fix(secrets.token_hex(8))
        start_state = _state_name(request.state)
        mind: LearningMind
        if request.walk_forward:
            windows = windows_of(market, settings, start_ns)
            mind = WalkForwardMind(windows, _learn_windows(request, windows, models, console))
            start_state, start_ns = f"walk-forward from {start_state}", windows[0].test_start_ns
        else:
            mind = build_market_mind(market, settings, models, request.state)
        plan = plan_run(market, settings, mind, start_state, start_ns, completions=completions)
        plan = with_span(plan, traded.chosen, request.walk_forward)
        with record_run(plan, request.library, request.out, console) as record, Aside() as aside:
            result = run_backtest(
                plan,
                run_references=run_references,
                start_references=aside.start,
                writer=record.writer,
                on_session=record.on_session,
            )
            return record.finish(result, models, unmasked)


def _learn_windows(
    request: BacktestRequest, windows: Sequence[Window], models: Models | None, console: Console
) -> list[LearningMind]:
    """Return a mind for each window, which has learned from the sessions before it."""
    market, settings = request.traded.market, request.traded.settings

    def make_mind() -> LearningMind:
        return build_market_mind(market, settings, models, request.state)

    return [
        fit(market, settings, window, make_mind)
        for window in track(
            windows, "learning windows", console=console, disable=not console.is_terminal
        )
    ]


def _state_name(state: Path | None) -> str:
    """Return the run's folder and the state's, wherever they lie; "fresh" for the prior."""
    return "fresh" if state is None else "/".join(state.resolve().parts[-2:])


def _masked(request: BacktestRequest, masking: bool) -> BacktestRequest:
    settings = request.traded.settings
    minds = msgspec.structs.replace(settings.minds, masking=masking)
    settings = msgspec.structs.replace(settings, minds=minds)
    return replace(request, traded=replace(request.traded, settings=settings))
