"""The command `data check` says what is in a source, and what is wrong with it."""

import typer

from ops.commands import options


def data_check(
    source: options.Source, seed: options.Seed = None, as_json: options.Json = False
) -> None:
    """List what is in a source and what is wrong with it; exit 2 where it cannot be used."""
    from backtest.check import check_source
    from config.settings import load_settings
    from ops.display.findings import print_check
    from ops.printing import open_console, print_json

    settings = load_settings(overrides={"data.source": source, "seed": seed})
    report = check_source(source, settings=settings)
    if as_json:
        print_json(report)
    else:
        print_check(report, open_console(as_json))
    if report.problems:
        raise typer.Exit(2)
