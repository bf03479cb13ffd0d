"""
Records a run: each session in the experience library, its files, and its status at the end.

The library holds each session as it ends. A run that is interrupted leaves whole sessions there,
under a status that says so, and the same run again adds what is missing. It does not know who
runs the book: `backtest_run` and `paper_run` do.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rich.console import Console

from agents.protocols import ExperienceWriter
from backtest.plan import RunPlan
from backtest.report.output import write_run
from backtest.results import Calls, RunResult
from backtest.run import HIERARCHY
from backtest.statistics.mask_comparison import compare_masking
from backtest.statistics.summary import Summary, summarise, trial_of
from config.errors import Halt
from config.files.in_use import in_use
from config.files.paths import check_place
from learning.experience.library import Library, RunInfo, open_library
from learning.experience.running import interrupt_left, under_way
from learning.experience.scoring import ScoringWriter
from ops.composition.model_minds import Models
from ops.composition.preconditions import RUNS
from ops.printing import print_notes, progress_bar


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end: its result, the summary of it, and the folder of its files."""

    result: RunResult
    summary: Summary
    folder: Path


class Recording:
    """A run under way: where its records go, what is called at each session, and its end."""

    def __init__(
        self,
        plan: RunPlan,
        library: Library,
        folder: Path,
        writer: ExperienceWriter,
        on_session: Callable[[str, int], None],
    ) -> None:
        self.writer = writer
        self.on_session = on_session
        self.finished: FinishedRun | None = None
        self._plan = plan
        self._library = library
        self._folder = folder

    def finish(
        self, result: RunResult, models: Models | None = None, unmasked: RunResult | None = None
    ) -> FinishedRun:
        """
        Summarise a run's result and write its files.

        A masked run is compared with its `unmasked` twin where that is given.
        """
        plan = self._plan
        if models is not None:
            result = replace(
                result,
                calls=msgspec.convert(models.backend.summary(), Calls),
                manifest={**result.manifest, "completions_used": models.used()},
            )
        stamps = result.book.ts
        earlier = self._library.trials(plan.run_id, int(stamps[0]), int(stamps[-1]))
        summary = summarise(result, seed=plan.settings.seed, earlier_trials=earlier)
        if unmasked is not None:
            masking = compare_masking(result, unmasked, plan.settings.seed)
            summary = msgspec.structs.replace(summary, masking=masking)
        write_run(result, summary, self._folder, plan.mind.save)
        self.finished = FinishedRun(result, summary, self._folder)
        return self.finished


@contextmanager
def record_run(
    plan: RunPlan, library: str, out: Path | None, console: Console
) -> Iterator[Recording]:
    """
    Give the recording of a plan's run, which ends as completed, interrupted or failed.

    `library` is a path or a URL; `out` is the run's folder, by default `runs/<run_id>`.
    Raises ConfigError, before anything runs, where that folder holds something else or another
    process uses it. Runs that a kill left running in the library are named and marked.
    """
    folder = out or RUNS / plan.run_id
    check_place(folder)
    with ExitStack() as stack:
        stack.enter_context(in_use(folder))
        held = stack.enter_context(open_library(library))
        print_notes(f"{left}: marked interrupted" for left in interrupt_left(held))
        stack.enter_context(under_way(held, plan.run_id))
        writer = ScoringWriter(held.writer(_run_info(plan), created_at=time.time_ns()))
        try:
            with progress_bar(console) as bar:
                task = bar.add_task("", total=plan.sessions)

                def on_session(book: str, _: int) -> None:
                    bar.update(task, description=book, advance=int(book == HIERARCHY))

                recording = Recording(plan, held, folder, writer, on_session)
                yield recording
        except KeyboardInterrupt:
            held.finish_run(plan.run_id, "interrupted")
            raise
        except Halt as e:
            held.finish_run(plan.run_id, "failed")
            kept = f"what was recorded until then is run {plan.run_id} in the library"
            raise type(e)(f"{e}; {kept}, marked failed") from e
        except Exception:
            held.finish_run(plan.run_id, "failed")
            raise
        assert recording.finished is not None  # the caller ran the plan to its end
        result = recording.finished.result
        held.finish_run(plan.run_id, "completed", trial_of(result), result.sessions_per_year)


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
