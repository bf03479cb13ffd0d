"""The command `evaluate allocator` runs trained policies on sessions that they never saw."""

from pathlib import Path
from typing import Annotated

import typer

from ops.commands import options


def evaluate_allocator(
    trainings: Annotated[
        list[Path],
        typer.Argument(help="The folder of a `train allocator`; several are seeds of one."),
    ],
    source: Annotated[
        str | None, typer.Option(help="Another market, held out whole; else the test windows.")
    ] = None,
    after: Annotated[str, typer.Option(help="Of that market, the days after this one.")] = "",
    symbols: options.Symbols = None,
    fresh_markets: Annotated[
        int | None,
        typer.Option(min=1, help="So many new simulated markets, seeds after the training's."),
    ] = None,
    first_seed: Annotated[
        int | None, typer.Option(min=0, help="The first seed of the fresh markets instead.")
    ] = None,
    cost: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            callback=options.finite,
            help="Cost per fill, a fraction of notional.",
        ),
    ] = None,
    own_costs: Annotated[
        bool, typer.Option("--own-costs", help="Each instrument's own cost instead.")
    ] = False,
    windows: Annotated[
        int | None, typer.Option(min=1, help="The first so many held-out windows; all by default.")
    ] = None,
    oracles: Annotated[bool, typer.Option(help="Run the simulator's oracles too.")] = True,
    out: Annotated[
        Path | None,
        options.out_to("figures; TRAINING/test by default, test-seeds in the first of several"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run trainings' policies, baselines and oracles on held-out sessions, through the twin."""
    from ops.composition.training.allocator_evaluation import Request, evaluate
    from ops.printing import open_console

    place = out or trainings[0] / ("test" if len(trainings) == 1 else "test-seeds")
    request = Request(
        trainings=tuple(trainings),
        out=place,
        source=source,
        after=after,
        symbols=options.symbols_of(symbols),
        fresh=fresh_markets,
        first_seed=first_seed,
        own_costs=own_costs,
        cost_frac=cost,
        windows=windows,
        oracles=oracles,
    )
    console = open_console(as_json)
    report = evaluate(request, console)
    from ops.display.evaluation_tables import print_evaluation

    print_evaluation(report, place, console, as_json)
