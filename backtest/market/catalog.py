"""
Markets on disk: a Nautilus ParquetDataCatalog with a page of our own facts.

Instruments, bars, news, fundamentals, macro values and actions lie in Nautilus's own form, so
that its tools read them; `quarterdeck.json` holds what that form has no place for. Reading
gives back the same market with the same digest. A catalog is written whole or not at all.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from agents.messages import Instrument
from backtest.market.market_data import MarketData, PriceBasis, canonical
from config.errors import DataError
from config.files.whole import whole_folder
from config.sources import CATALOG_FACTS, catalog_root

_PRICES = ("open", "high", "low", "close")
TOGETHER = 50  # instruments whose bars are read at once


class CatalogInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One catalog at a glance; `first` and `last` are closing stamps of sessions."""

    name: str
    path: str
    symbols: tuple[str, ...]
    bars: int
    news: int
    fundamentals: int
    macro: int
    step_ns: int
    price_basis: PriceBasis
    first: int
    last: int
    digest: str


class _Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page of facts; `opens` are the openings of all distinct closing stamps, in order."""

    name: str
    instruments: tuple[Instrument, ...]
    opens: tuple[int, ...]
    session_closes: tuple[int, ...]
    step_ns: int
    price_basis: PriceBasis
    calendar: str
    source_digest: str
    notes: tuple[str, ...]
    bars: int
    news: int
    fundamentals: int
    macro: int
    digest: str


_SHOWN = ("bars", "news", "fundamentals", "macro", "step_ns", "price_basis", "digest")


def write_catalog(market: MarketData, path: Path) -> None:
    """
    Write a market as a catalog at `path`, which must not exist yet.

    Raises DataError if it exists, or if the stored form would not give the same market back
    (prices with more decimals than they are kept with), or two symbols one name.
    """
    from nautilus_trader.persistence.catalog import ParquetDataCatalog

    from strategies import data as custom
    from strategies.instruments import to_nautilus

    if path.exists():
        raise DataError(f"expected a new folder for the catalog, was {str(path)!r}")
    market = canonical(market)
    with whole_folder(path) as aside:
        catalog = ParquetDataCatalog(aside)
        catalog.write_data([to_nautilus(i, cost_frac=0.0) for i in _stored(market.instruments)])
        bars = dict(tuple(market.bars.groupby("symbol", sort=False)))
        for i, stored in zip(market.instruments, _stored(market.instruments), strict=True):
            catalog.write_data(_to_bars(bars[i.symbol], i, stored, market.step_ns))
        actions = market.actions.itertuples(index=False, name=None)
        for items in (
            [custom.from_news(n) for n in market.news],
            [custom.from_fundamentals(f) for f in market.fundamentals],
            [custom.from_macro(m) for m in market.macro],
            [custom.from_action(*a) for a in actions],
        ):
            if items:
                catalog.write_data(items)
        facts = _Facts(
            name=market.name,
            instruments=market.instruments,
            opens=_opens(market.bars),
            session_closes=market.session_closes,
            step_ns=market.step_ns,
            price_basis=market.price_basis,
            calendar=market.calendar,
            source_digest=market.source_digest,
            notes=market.notes,
            bars=len(market.bars),
            news=len(market.news),
            fundamentals=len(market.fundamentals),
            macro=len(market.macro),
            digest=market.digest,
        )
        (aside / CATALOG_FACTS).write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
        read_catalog(aside)


def read_catalog(path: Path) -> MarketData:
    """
    Return the market that a catalog holds.

    Raises DataError if it is no catalog of ours, or if its content no longer has the digest
    that was written with it.
    """
    from nautilus_trader.persistence.catalog import ParquetDataCatalog

    from strategies import data as custom

    facts = _facts(path)
    _refuse_changed_bars(path, facts)
    catalog = ParquetDataCatalog(path)

    def custom_data(kind: type) -> list[Any]:
        return [item.data for item in catalog.query(kind) or []]

    try:
        table = pd.concat(_read_bars(catalog, facts), ignore_index=True)
        closes, places = np.unique(table["ts_close"].to_numpy(np.int64), return_inverse=True)
        if len(closes) != len(facts.opens):
            raise DataError(f"{path.name}: expected {len(facts.opens)} stamps, was {len(closes)}")
        table["ts_open"] = np.asarray(facts.opens, dtype=np.int64)[places]
        actions = [(a.symbol, a.ts_event, a.split, a.dividend) for a in custom_data(custom.Action)]
        market = canonical(
            MarketData(
                name=facts.name,
                instruments=facts.instruments,
                bars=table,
                actions=pd.DataFrame(actions, columns=["symbol", "ts", "split", "dividend"]),
                session_closes=facts.session_closes,
                step_ns=facts.step_ns,
                price_basis=facts.price_basis,
                news=tuple(custom.to_news(d) for d in custom_data(custom.News)),
                fundamentals=tuple(
                    custom.to_fundamentals(d) for d in custom_data(custom.Fundamentals)
                ),
                macro=tuple(custom.to_macro(d) for d in custom_data(custom.Macro)),
                notes=facts.notes,
                calendar=facts.calendar,
                source_digest=facts.source_digest,
            )
        )
        digest = market.digest
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as e:
        reason = " ".join(str(e).split())
        raise DataError(f"{path.name}: expected a whole catalog, was unreadable: {reason}") from e
    if digest != facts.digest:
        raise DataError(
            f"{path.name}: expected content with digest {facts.digest[:12]}, "
            f"was {digest[:12]}: the catalog was changed, or its prices have more "
            "decimals than they are kept with"
        )
    return market


def list_catalogs(root: Path | None = None) -> list[CatalogInfo]:
    """Return the catalogs directly under a folder, by name; none where it does not exist."""
    out = []
    for path in sorted((root or catalog_root()).glob(f"*/{CATALOG_FACTS}")):
        if path.parent.name.startswith("."):
            continue
        facts = _facts(path.parent)
        out.append(
            CatalogInfo(
                name=path.parent.name,
                path=str(path.parent),
                symbols=tuple(i.symbol for i in facts.instruments),
                **{name: getattr(facts, name) for name in _SHOWN},
                first=facts.session_closes[0],
                last=facts.session_closes[-1],
            )
        )
    return out


def _facts(path: Path) -> _Facts:
    try:
        return msgspec.json.decode((path / CATALOG_FACTS).read_bytes(), type=_Facts)
    except OSError as e:
        raise DataError(f"expected a catalog with {CATALOG_FACTS}, was {str(path)!r}") from e
    except (msgspec.DecodeError, RecursionError) as e:
        raise DataError(f"{path.name}/{CATALOG_FACTS}: expected a page of facts, was {e}") from e


def _refuse_changed_bars(path: Path, facts: _Facts) -> None:
    """
    Raise DataError for a file of bars that is not as Nautilus writes it.

    Its own reader, which is no Python, ends the process at a missing column or metadata, at an
    empty value, and at a number that no price can be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from nautilus_trader.core.nautilus_pyo3 import PRECISION_BYTES

    from strategies.instruments import bar_type

    fixed, stamp = pa.binary(PRECISION_BYTES), pa.uint64()
    types = dict.fromkeys((*_PRICES, "volume"), fixed) | dict.fromkeys(
        ("ts_event", "ts_init"), stamp
    )
    stated = {}
    for instrument, stored in zip(facts.instruments, _stored(facts.instruments), strict=True):
        kind = str(bar_type(stored, facts.step_ns)).encode()
        stated[kind] = {
            b"bar_type": kind,
            b"instrument_id": f"{stored.symbol}.{stored.venue}".encode(),
            b"price_precision": b"%d" % instrument.engine_precision,
            b"size_precision": b"%d" % instrument.size_precision,
        }
    for file in sorted(path.glob("data/bar/*/*.parquet")):
        try:
            table = pq.read_table(file, partitioning=None)
        except (OSError, ValueError, pa.ArrowException) as e:
            raise DataError(
                f"{path.name}: expected a Parquet file of bars, was unreadable: {file.name}"
            ) from e
        columns = dict(zip(table.schema.names, table.schema.types, strict=True))
        metadata = table.schema.metadata or {}
        told = columns == types and metadata == stated.get(metadata.get(b"bar_type", b""))
        if not told or any(c.null_count for c in table.columns) or _beyond(table):
            raise DataError(
                f"{path.name}: expected bars as Nautilus writes them, was other: {file.name}"
            )


def _beyond(table: Any) -> bool:
    """Tell whether a price or a volume of an Arrow table is none that the engine can hold."""
    from nautilus_trader.model.objects import FIXED_SCALAR, PRICE_MAX, QUANTITY_MAX

    for name in (*_PRICES, "volume"):
        most = (QUANTITY_MAX if name == "volume" else PRICE_MAX) * FIXED_SCALAR / 2**64
        for chunk in table[name].chunks:
            words = np.frombuffer(chunk.buffers()[1], "<i8")[1::2]  # the upper half of 16 bytes
            upper = words[chunk.offset : chunk.offset + len(chunk)]
            if ((upper < 0) | (upper > most)).any():
                return True
    return False


def _opens(bars: pd.DataFrame) -> tuple[int, ...]:
    pairs = bars[["ts_close", "ts_open"]].drop_duplicates().sort_values("ts_close")
    if pairs["ts_close"].duplicated().any():
        raise DataError("expected bars that close together to open together, was not so")
    return tuple(int(o) for o in pairs["ts_open"])


def _stored(instruments: Sequence[Instrument]) -> list[Instrument]:
    """
    Return instruments under the names that Nautilus's queries can read: no /, =, ^ or colon.

    Raises DataError where two have the same.
    """
    stored = [
        msgspec.structs.replace(i, symbol=re.sub(r"[^A-Za-z0-9._-]", "_", i.symbol))
        for i in instruments
    ]
    name, count = Counter(i.symbol for i in stored).most_common(1)[0]
    if count > 1:
        raise DataError(f"expected symbols that a catalog can tell apart, was {count} as {name}")
    return stored


def _to_bars(
    rows: pd.DataFrame, instrument: Instrument, stored: Instrument, step_ns: int
) -> list[Any]:
    from nautilus_trader.model.data import Bar

    from strategies.instruments import bar_type

    stamps = rows["ts_close"].to_numpy(np.uint64, copy=True)
    bars: list[Any] = Bar.from_raw_arrays_to_list(
        bar_type(stored, step_ns),
        instrument.engine_precision,
        instrument.size_precision,
        *(
            rows[c].to_numpy(np.float64, copy=True)
            for c in ("open", "high", "low", "close", "volume")
        ),
        stamps,
        stamps.copy(),
    )
    return bars


def _read_bars(catalog: Any, facts: _Facts) -> Iterator[pd.DataFrame]:
    """
    Yield the bars of each instrument.

    Nautilus lists all files of a catalog for each query, so that one query asks for many.
    """
    from strategies.instruments import bar_type

    stored = _stored(facts.instruments)
    types = [str(bar_type(i, facts.step_ns)) for i in stored]
    for first in range(0, len(types), TOGETHER):
        some = slice(first, first + TOGETHER)
        bars: dict[str, list[Any]] = {name: [] for name in types[some]}
        for kind, group in groupby(catalog.bars(bar_types=types[some]), lambda b: b.bar_type):
            bars[str(kind)] += group
        for name, instrument in zip(types[some], facts.instruments[some], strict=True):
            yield _from_bars(bars[name], instrument)


def _from_bars(bars: list[Any], instrument: Instrument) -> pd.DataFrame:
    places = instrument.printed_precision
    columns: dict[str, Any] = {
        name: np.round([getattr(b, name).as_double() for b in bars], places) for name in _PRICES
    }
    volume = np.round([b.volume.as_double() for b in bars], instrument.size_precision)
    stamps = np.array([b.ts_event for b in bars], dtype=np.int64)
    return pd.DataFrame(
        {"symbol": instrument.symbol, **columns, "volume": volume, "ts_close": stamps}
    )
