"""
The command line: `quarterdeck COMMAND`. The composition root of everything that runs by hand.

Commands import what they need when they run, so that `--help` answers at once. Bad input ends
in one line on standard error and exit code 2, an unsafe end in 1, Ctrl-C in 130.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from config.errors import ConfigError, Halt
from config.paths import data_home

app = typer.Typer(
    help="Quarterdeck: an event-driven trading system whose traders learn.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Import, check and list market data.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed and learning.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")

Source = Annotated[
    str, typer.Argument(help="packaged, packaged:apple, simulator, a folder, a file, a catalog.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on standard output.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of all chance.")]


ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """
    Run the command line; the entry point of the `quarterdeck` script.

    Linear algebra runs on one thread, before any of it is imported: sums that depend on the
    number of cores would make runs differ between machines.
    """
    for name in ONE_THREAD:
        os.environ[name] = "1"
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer has taken the KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except typer.TyperException as e:
        _fail(f"{e.format_message()} (see --help)", 2)
    except ConfigError as e:
        _fail(str(e), 2)
    except Halt as e:
        _fail(str(e), 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)


@app.command()
def backtest(
    profile: Annotated[
        str, typer.Option("--profile", "--config", help="A profile's name or a YAML file.")
    ] = "backtest",
    source: Annotated[str | None, typer.Option(help="What to trade; see `data list`.")] = None,
    start: Annotated[str | None, typer.Option(help="First day that decides.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    minds: Annotated[str | None, typer.Option(help="Which minds decide: rules.")] = None,
    seed: Seed = None,
    state: Annotated[Path | None, typer.Option(help="A run's state folder to start on.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<run_id> by default.")] = None,
    library: Annotated[
        str | None, typer.Option(help="Experience library: a file or a database URL.")
    ] = None,
    walk_forward: Annotated[
        bool, typer.Option(help="Learn on purged, embargoed windows, trade the next one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the whole hierarchy over a market and write a report."""
    from config.settings import load_settings
    from ops.backtest import Request, run

    settings = load_settings(
        profile,
        {
            "data.source": source,
            "data.start": start,
            "data.end": end,
            "data.symbols": symbols.split(",") if symbols else None,
            "minds.kind": minds,
            "seed": seed,
        },
    )
    request = Request(
        settings=settings,
        library=library or str(data_home() / "experience.sqlite"),
        state=state,
        out=out,
        walk_forward=walk_forward,
    )
    run(request, as_json=as_json)


@data_app.command("import")
def data_import(
    source: Source,
    name: Annotated[str, typer.Option(help="The catalog's name.")],
    start: Annotated[str | None, typer.Option(help="Refused if the data start later.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day to keep.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Read a source into the point-in-time catalog."""
    from backtest.catalog import catalog_root, write_catalog
    from backtest.sources import open_source

    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"expected a plain name for the catalog, was {name!r}")
    market = open_source(source, start=start, end=end, seed=seed or 0)
    path = catalog_root() / name
    write_catalog(market, path)
    facts = {
        "catalog": str(path),
        "digest": market.digest,
        "instruments": len(market.instruments),
        "bars": len(market.bars),
        "news": len(market.news),
        "fundamentals": len(market.fundamentals),
        "macro": len(market.macro),
    }
    _show(facts, as_json)


@data_app.command("check")
def data_check(source: Source, seed: Seed = 0, as_json: Json = False) -> None:
    """List what is in a source and what is wrong with it; exit 2 where it cannot be used."""
    import msgspec

    from backtest.check import check_source

    report = check_source(source, seed=seed or 0)
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        from rich.console import Console

        from ops.check import print_check

        print_check(report, Console())
    if report.problems:
        raise typer.Exit(2)


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the packaged sources and the imported catalogs."""
    import msgspec

    from backtest.catalog import list_catalogs

    found = msgspec.to_builtins(list_catalogs())
    if as_json:
        print(json.dumps({"packaged": PACKAGED, "catalogs": found}))
        return
    for name, text in PACKAGED.items():
        print(f"{name:<16} {text}")
    for catalog in found:
        symbols = " ".join(catalog["symbols"][:8]) + (" ..." if catalog["symbols"][8:] else "")
        print(f"{catalog['name']:<16} {symbols}, {catalog['bars']} bars, {catalog['news']} news")


PACKAGED = {
    "packaged": "AAPL GOOG IBM MSFT, daily, 2000 to 2013, unadjusted with actions",
    "packaged:apple": "AAPL, daily, 2019 to 2024",
    "simulator": "a market with planted structure and a known answer",
}


@bench_app.command("desk")
def bench_desk(
    sessions: Annotated[
        int, typer.Option(min=2, help="Sessions of 390 bars; trading begins after 60.")
    ] = 80,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare the desk's bars/s with the bare engine's, on 1-minute bars of 8 instruments."""
    from ops.bench import bench_desk as bench

    _show(bench(sessions=sessions, seed=seed or 0), as_json)


@bench_app.command("supervisor")
def bench_supervisor(
    decisions: Annotated[int, typer.Option(min=100)] = 10_000,
    seeds: Annotated[int, typer.Option(min=1)] = 5,
    out: Annotated[Path | None, typer.Option(help="Where to write the regret plot.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the routes' accuracy and regret on the simulator, against three baselines."""
    from ops.bench import bench_supervisor as bench

    _show(bench(decisions=decisions, seeds=seeds, out=out), as_json)


@bench_app.command("library")
def bench_library(
    rows: Annotated[int, typer.Option(min=1)] = 400_000,
    decisions: Annotated[int, typer.Option(min=1)] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Measure the experience library: rows/s written, and the best thousand of many read."""
    from learning.experience.bench import bench_library as bench

    _show(bench(rows=rows, decisions=decisions), as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    print(f"quarterdeck: {line}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
