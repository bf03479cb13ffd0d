"""The command `data check` says what is in a source, and what is wrong with it."""

import typer

from ops.commands import options


def data_check(
    source: options.Source,
    start: options.Start = None,
    end: options.End = None,
    symbols: options.Symbols = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """
    List what is in a source and what is wrong with it; exit 2 where it cannot be used.

    It takes what `backtest --source` takes, and refuses what that refuses.
    """
    settings = options.settings_under(
        "backtest", source=source, start=start, end=end, symbols=symbols, seed=seed
    )
    from ops.composition.checked_source import check_run_source
    from ops.display.findings import print_check
    from ops.printing import open_console, print_json

    report = check_run_source(settings)
    if as_json:
        print_json(report)
    else:
        print_check(report, open_console(as_json))
    if report.problems:
        raise typer.Exit(2)
