"""
Runs a paper session from market to report: replays stored data in a Nautilus TradingNode.

It composes what a backtest does - models, mind, plan, record - and differs in who runs the book:
a live node with sandbox fills, by way of the asynchronous port. The baselines beside it are
backtests.
"""

import secrets
from functools import partial
from pathlib import Path

from rich.console import Console

from backtest.plan import plan_run
from backtest.run import run_backtest
from learning.twin.reference_books import run_references
from live.node import run_paper_book
from ops.composition.model_minds import build_market_mind, open_models
from ops.composition.recorded_run import FinishedRun, record_run
from ops.composition.run_market import RunMarket, with_span


def run_paper(
    traded: RunMarket,
    library: str,
    out: Path | None,
    completions_file: Path | None,
    speed: float,
    console: Console,
) -> FinishedRun:
    """
    Replay a market to the desk, and return what came of it, recorded and written.

    `speed` is how many times faster than the data's own time it goes at most.
    """
    market, settings = traded.market, traded.settings
    with open_models(settings, completions_file) as models:
        completions = None if models is None else models.fix(secrets.token_hex(8))
        mind = build_market_mind(market, settings, models)
        plan = plan_run(
            market, settings, mind, "fresh", traded.start_ns, mode="paper", completions=completions
        )
        plan = with_span(plan, traded.chosen)
        with record_run(plan, library, out, console) as record:
            result = run_backtest(
                plan,
                run_references=run_references,
                writer=record.writer,
                on_session=record.on_session,
                run_own=partial(run_paper_book, speed=speed),
            )
            return record.finish(result, models)
