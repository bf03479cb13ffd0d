"""`data`: import, check, list, collect-routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from config.errors import ConfigError
from config.sources import catalog_root, check_source
from ops.commands.options import Group, Json, Seed, Source, show

data_app = typer.Typer(cls=Group, help="Import, check and list market data.", no_args_is_help=True)


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
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"expected a plain name for the catalog, was {name!r}")
    from backtest.market.sessions import parse_day

    for word, day in (("start", start), ("end", end)):
        if day is not None:
            parse_day(day, word)
    check_source(source)
    path = catalog_root() / name
    if path.exists():
        raise ConfigError(f"expected a new name for the catalog, was {name!r}: not replaced")
    from backtest.market.catalog import write_catalog
    from backtest.sources import open_source

    market = open_source(source, start=start, end=end, seed=seed or 0)
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
    show(facts, as_json)


@data_app.command("check")
def data_check(source: Source, seed: Seed = 0, as_json: Json = False) -> None:
    """List what is in a source and what is wrong with it; exit 2 where it cannot be used."""
    import msgspec

    from backtest.check import check_source as check

    report = check(source, seed=seed or 0)
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        from rich.console import Console

        from ops.display.findings import print_check

        print_check(report, Console())
    if report.problems:
        raise typer.Exit(2)


@data_app.command("list")
def data_list(as_json: Json = False) -> None:
    """List the packaged sources and the imported catalogs."""
    import msgspec

    from backtest.market.catalog import list_catalogs

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


@data_app.command("collect-routes")
def data_collect_routes(
    out: Annotated[Path, typer.Option(help="Where to write the routes, a Parquet file.")],
    source: Annotated[str | None, typer.Option(help="What to trade; see `data list`.")] = None,
    num: Annotated[
        int, typer.Option(min=7, help="Trajectories, one a route: whole cases of seven.")
    ] = 10_000,
    start: Annotated[str | None, typer.Option(help="First day that decides.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    minds: Annotated[str, typer.Option(help="Who answers: rules, embedded or vllm.")] = "rules",
    profile: Annotated[
        str, typer.Option("--profile", "--config", help="A profile's name or a YAML file.")
    ] = "simulator",
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Run all seven routes on every case of a source and keep what each came to."""
    from config.settings import load_settings
    from ops.composition.supervisor_training import collect

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
    collect(settings, num, out, as_json=as_json)
