"""The command `paper` replays stored data to the desk in a live trading node."""

import math
from pathlib import Path
from typing import Annotated

import typer

from config.errors import ConfigError
from config.files.in_use import in_use
from ops.commands import options


def paper(
    replay: Annotated[str, typer.Option(help=f"The source that is replayed: {options.SOURCES}.")],
    speed: Annotated[
        str, typer.Option(help="max, or how many times faster than the data's own time.")
    ] = "max",
    config: options.Config = None,
    start: options.Start = None,
    end: options.End = None,
    symbols: options.Symbols = None,
    minds: options.Minds = None,
    allocator: options.Policies = None,
    completions: options.Completions = None,
    completions_file: options.CompletionsFile = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None, options.out_to("the run's folder; runs/<run_id> by default")
    ] = None,
    library: options.LibraryPath = None,
    as_json: options.Json = False,
) -> None:
    """Replay stored data to the desk in a live trading node, with simulated fills."""
    from ops.composition.preconditions import check_run

    profile = options.profile_of(config, minds)
    times = _parse_speed(speed)
    settings = options.settings_under(
        profile,
        source=replay,
        start=start,
        end=end,
        symbols=symbols,
        minds=minds,
        allocator=allocator,
        completions=completions,
        seed=seed,
    )
    library = options.library_or_own(library)
    check_run(settings, library=library, out=out)
    from ops.composition.run_market import open_run_market

    with in_use(out):
        traded = open_run_market(settings, start, end, profile)
        from ops.composition.paper_run import run_paper
        from ops.display.finished_run import print_run
        from ops.printing import open_console

        console = open_console(as_json)
        finished = run_paper(traded, library, out, completions_file, times, console)
        print_run(finished, console, as_json)


def _parse_speed(text: str) -> float:
    """Return how many times faster than the data's own time a replay may go; inf for `max`."""
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ConfigError(f"expected --speed max or a positive number, was {text!r}")
    return speed
