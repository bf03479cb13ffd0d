"""The command `data list` names the sources that are there."""

from ops.commands import options

PACKAGED = {
    "packaged": "AAPL GOOG IBM MSFT, daily, 2000 to 2013, unadjusted with actions",
    "packaged:apple": "AAPL, daily, 2019 to 2024",
    "simulator": "a market with planted structure and a known answer",
}


def data_list(as_json: options.Json = False) -> None:
    """List the packaged sources and the imported catalogs."""
    from backtest.market.catalog import list_catalogs
    from ops.printing import print_json

    catalogs = list_catalogs()
    if as_json:
        print_json({"packaged": PACKAGED, "catalogs": catalogs})
        return
    for name, text in PACKAGED.items():
        print(f"{name:<16} {text}")
    for catalog in catalogs:
        symbols = " ".join(catalog.symbols[:8]) + (" ..." if catalog.symbols[8:] else "")
        print(f"{catalog.name:<16} {symbols}, {catalog.bars} bars, {catalog.news} news")
