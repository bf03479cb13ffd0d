"""The command `data import` keeps a source as a point-in-time catalog."""

from typing import Annotated

import typer

from config.errors import ConfigError
from config.files.in_use import in_use
from config.files.paths import check_folder
from config.sources import catalog_root, check_source, is_reserved
from ops.commands import options


def data_import(
    source: options.Source,
    name: Annotated[str, typer.Option(help="The catalog's name.")],
    start: Annotated[str | None, typer.Option(help="Refused if the data start later.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day to keep.")] = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Read a source into the point-in-time catalog."""
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"expected a plain name for the catalog, was {name!r}")
    if is_reserved(name):
        raise ConfigError(f"expected a name that no other source has, was {name!r}")
    from backtest.market.sessions import parse_day

    for word, day in (("start", start), ("end", end)):
        if day is not None:
            parse_day(day, word)
    check_source(source)
    path = catalog_root() / name
    with in_use(path):
        if path.exists():
            raise ConfigError(f"expected a new name for the catalog, was {name!r}: not replaced")
        check_folder(path)
        from backtest.market.catalog import write_catalog
        from backtest.sources import open_source
        from ops.printing import print_facts

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
    print_facts(facts, as_json)
