"""
A run with its record: every session in the experience library, the files, the status at the end.

A backtest and a paper session differ in who executes the plan, and in nothing here. The library
holds each session as it ends; a run that is interrupted leaves whole sessions there, under a
status that says so, and the same run again adds what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agents.protocols import ExperienceWriter
from backtest.plan import RunPlan
from backtest.report.output import write_run
from backtest.results import Calls, RunResult
from backtest.run import HIERARCHY
from backtest.statistics.mask_comparison import compare_masking
from backtest.statistics.summary import Summary, summarise, trial_of
from config.errors import Halt
from learning.experience.library import Library, RunInfo
from learning.experience.scoring import ScoringWriter
from ops.composition.model_minds import Models

type Execute = Callable[[RunPlan, ExperienceWriter, Callable[[str, int], None]], RunResult]


def run_recorded(
    plan: RunPlan,
    execute: Execute,
    library: Library,
    out: Path,
    console: Console,
    models: Models | None = None,
    unmasked: RunResult | None = None,
) -> tuple[RunResult, Summary]:
    """
    Let `execute` run a plan with every record of its book in the library; write its files.

    A masked run is compared with its `unmasked` twin where that is given.
    """
    writer = ScoringWriter(library.writer(_run_info(plan), created_at=time.time_ns()))
    try:
        with _progress(plan, console) as on_session:
            result = execute(plan, writer, on_session)
        if models is not None:
            result = replace(
                result,
                calls=msgspec.convert(models.calls(), Calls),
                manifest={**result.manifest, "completions_used": models.used()},
            )
        stamps = result.book.ts
        earlier = library.trials(plan.run_id, int(stamps[0]), int(stamps[-1]))
        summary = summarise(result, seed=plan.settings.seed, earlier_trials=earlier)
        if unmasked is not None:
            found = compare_masking(result, unmasked, plan.settings.seed)
            summary = msgspec.structs.replace(summary, masking=found)
        write_run(result, summary, out, plan.mind.save)
    except KeyboardInterrupt:
        library.finish_run(plan.run_id, "interrupted")
        raise
    except Halt as e:
        library.finish_run(plan.run_id, "failed")
        kept = f"what was recorded until then is run {plan.run_id} in the library, marked failed"
        raise type(e)(f"{e}; {kept}") from e
    except Exception:
        library.finish_run(plan.run_id, "failed")
        raise
    library.finish_run(plan.run_id, "completed", trial_of(result), result.sessions_per_year)
    return result, summary


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
        task = progress.add_task("", total=plan.sessions)

        def on_session(book: str, _: int) -> None:
            progress.update(task, description=book, advance=int(book == HIERARCHY))

        yield on_session


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
        source_digest=manifest["data"].get("source_digest", manifest["data_digest"]),
        manifest=msgspec.json.encode(manifest).decode(),
    )
