"""The command `analyze` says what the hierarchy makes of one instrument."""

from typing import Annotated

import typer

from ops.commands import options


def analyze(
    symbol: Annotated[str, typer.Argument(help="What to analyze.")],
    config: options.Config = None,
    source: Annotated[
        str | None, typer.Option(help="Where to look; the newest stored data by default.")
    ] = None,
    minds: options.Minds = None,
    allocator: options.Policies = None,
    lookback_days: Annotated[int, typer.Option(min=1, help="How old news may be.")] = 7,
    seed: options.Seed = None,
    state: options.State = None,
    as_json: options.Json = False,
) -> None:
    """Say what the hierarchy makes of one instrument on the newest stored data."""
    from config.sources import check_source
    from ops.composition.preconditions import check_minds

    profile = options.profile_of(config, minds)
    settings = options.settings_under(profile, minds=minds, allocator=allocator, seed=seed)
    if source is not None:
        check_source(source)
    check_minds(settings, state)
    from ops.api import Coordinator

    coordinator = Coordinator(settings, source=source, state=state)
    analysis = coordinator.analyze(symbol, lookback_days=lookback_days)
    from ops.printing import open_console, print_json

    if as_json:
        print_json(analysis)
        return
    from ops.display.analysis import print_analysis

    print_analysis(analysis, open_console(as_json))
