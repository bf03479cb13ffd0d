"""The command `backtest` runs the whole hierarchy over a market."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from config.files.in_use import in_use
from ops.commands import options


class Masking(StrEnum):
    """Whether prompts hide who and when."""

    ON = "on"
    OFF = "off"
    BOTH = "both"


def backtest(
    config: options.Config = None,
    source: options.SourceChoice = None,
    start: options.Start = None,
    end: options.End = None,
    symbols: options.Symbols = None,
    minds: options.Minds = None,
    allocator: options.Policies = None,
    completions: options.Completions = None,
    completions_file: options.CompletionsFile = None,
    masking: Annotated[
        Masking | None,
        typer.Option(help="Hide names and dates from language models; both: run twice, compare."),
    ] = None,
    seed: options.Seed = None,
    state: options.State = None,
    out: Annotated[
        Path | None, options.out_to("the run's folder; runs/<run_id> by default")
    ] = None,
    library: options.LibraryPath = None,
    walk_forward: Annotated[
        bool, typer.Option(help="Learn on purged, embargoed windows, trade the next one.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Run the whole hierarchy over a market and write a report."""
    from ops.composition.preconditions import check_run

    both = masking is Masking.BOTH
    profile = options.profile_of(config, minds)
    settings = options.settings_under(
        profile,
        source=source,
        start=start,
        end=end,
        symbols=symbols,
        minds=minds,
        allocator=allocator,
        completions=completions,
        masking=None if masking is None or both else masking is Masking.ON,
        seed=seed,
    )
    library = options.library_or_own(library)
    check_run(settings, library=library, out=out, state=state)
    from ops.composition.run_market import open_run_market

    with in_use(out):
        traded = open_run_market(settings, start, end, profile)
        from ops.composition.backtest_run import BacktestRequest, run, run_both
        from ops.display.finished_run import print_run
        from ops.printing import open_console

        request = BacktestRequest(
            traded=traded,
            library=library,
            out=out,
            state=state,
            completions=completions_file,
            walk_forward=walk_forward,
        )
        console = open_console(as_json)
        print_run((run_both if both else run)(request, console), console, as_json)
