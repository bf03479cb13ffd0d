"""`backtest`, `paper`, `analyze`: what decides."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import typer

from config.errors import ConfigError
from config.paths import data_home
from ops.commands.options import (
    Completions,
    CompletionsFile,
    End,
    Json,
    LibraryPath,
    Minds,
    Out,
    Policies,
    Profile,
    Seed,
    Start,
    State,
    Symbols,
    profile_of,
)


class Masking(StrEnum):
    """Whether prompts hide who and when."""

    ON = "on"
    OFF = "off"
    BOTH = "both"


def backtest(
    profile: Profile = None,
    source: Annotated[str | None, typer.Option(help="What to trade; see `data list`.")] = None,
    start: Start = None,
    end: End = None,
    symbols: Symbols = None,
    minds: Minds = None,
    allocator: Policies = None,
    completions: Completions = None,
    completions_file: CompletionsFile = None,
    masking: Annotated[
        Masking | None,
        typer.Option(help="Hide names and dates from language models; both: run twice, compare."),
    ] = None,
    seed: Seed = None,
    state: State = None,
    out: Out = None,
    library: LibraryPath = None,
    walk_forward: Annotated[
        bool, typer.Option(help="Learn on purged, embargoed windows, trade the next one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the whole hierarchy over a market and write a report."""
    from config.settings import load_settings
    from ops.composition.preconditions import check_run

    both = masking is Masking.BOTH
    profile = profile_of(profile, minds)
    settings = load_settings(
        profile,
        {
            "data.source": source,
            "data.start": start,
            "data.end": end,
            "data.symbols": symbols.split(",") if symbols else None,
            "minds.kind": minds,
            "allocator.policies": None if allocator is None else str(allocator),
            "minds.completions": completions,
            "minds.masking": None if masking is None or both else masking is Masking.ON,
            "seed": seed,
        },
    )
    library = library or str(data_home() / "experience.sqlite")
    check_run(settings, library=library, out=out, state=state)
    from ops.composition.source import chosen_by, open_market

    market, settings, start_ns = open_market(settings)
    from ops.composition.backtest_run import Request, run

    request = Request(
        settings=settings,
        market=market,
        start_ns=start_ns,
        chosen=chosen_by(settings, start, end, profile),
        library=library,
        state=state,
        out=out,
        walk_forward=walk_forward,
        completions=completions_file,
        both=both,
    )
    run(request, as_json=as_json)


def paper(
    replay: Annotated[str, typer.Option(help="The source that is replayed; see `data list`.")],
    speed: Annotated[
        str, typer.Option(help="max, or how many times faster than the data's own time.")
    ] = "max",
    profile: Profile = None,
    start: Start = None,
    end: End = None,
    symbols: Symbols = None,
    minds: Minds = None,
    allocator: Policies = None,
    completions: Completions = None,
    completions_file: CompletionsFile = None,
    seed: Seed = None,
    out: Out = None,
    library: LibraryPath = None,
    as_json: Json = False,
) -> None:
    """Replay stored data to the desk in a live trading node, with simulated fills."""
    from config.settings import load_settings
    from ops.composition.preconditions import check_run

    profile = profile_of(profile, minds)
    times = _parse_speed(speed)
    settings = load_settings(
        profile,
        {
            "data.source": replay,
            "data.start": start,
            "data.end": end,
            "data.symbols": symbols.split(",") if symbols else None,
            "minds.kind": minds,
            "allocator.policies": None if allocator is None else str(allocator),
            "minds.completions": completions,
            "seed": seed,
        },
    )
    library = library or str(data_home() / "experience.sqlite")
    check_run(settings, library=library, out=out)
    from ops.composition.source import chosen_by, open_market

    market, settings, start_ns = open_market(settings)
    from ops.composition.paper_run import PaperRequest, run

    request = PaperRequest(
        settings=settings,
        market=market,
        start_ns=start_ns,
        chosen=chosen_by(settings, start, end, profile),
        library=library,
        out=out,
        speed=times,
        completions=completions_file,
    )
    run(request, as_json=as_json)


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


def analyze(
    symbol: Annotated[str, typer.Argument(help="What to analyze.")],
    profile: Profile = None,
    source: Annotated[
        str | None, typer.Option(help="Where to look; the newest stored data by default.")
    ] = None,
    minds: Minds = None,
    allocator: Policies = None,
    lookback_days: Annotated[int, typer.Option(min=1, help="How old news may be.")] = 7,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Say what the hierarchy makes of one instrument on the newest stored data."""
    import msgspec

    from config.settings import load_settings
    from config.sources import check_source
    from ops.composition.preconditions import check_minds

    settings = load_settings(
        profile_of(profile, minds),
        {
            "minds.kind": minds,
            "allocator.policies": None if allocator is None else str(allocator),
        },
    )
    if source is not None:
        check_source(source)
    check_minds(settings, state)
    from ops.api import Coordinator

    coordinator = Coordinator(settings, source=source, state=state)
    analysis = coordinator.analyze(symbol, lookback_days=lookback_days)
    if as_json:
        print(msgspec.json.encode(analysis).decode())
        return
    from rich.console import Console

    from ops.display.analysis import print_analysis

    print_analysis(analysis, Console())
