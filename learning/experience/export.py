"""
The library as files: a table, or whole experiences, as JSON lines or Parquet.

The suffix says which. Rows are in key order, so that the same library gives the same file; a
file appears whole or not at all. A case leaves as the JSON that it is; in Parquet an
experience's decision and outcomes are JSON text, in JSON lines they are nested.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import BigInteger, Double, Table, select

from config.errors import ConfigError
from learning.experience import models as m
from learning.experience.library import Library
from learning.experience.rows import unpack_case

EXPERIENCES = "experiences"
_PAGE = 1000
_COLUMNS = ("run_id", "decision_id", "ts_event", "reward", "decision", "outcomes")

type Page = list[tuple[Any, ...]]


def export(library: Library, path: str | Path, table: str = EXPERIENCES) -> int:
    """
    Write a table, or "experiences" (decision, outcomes, reward), and return how many rows.

    Raises ConfigError on a suffix other than .jsonl and .parquet, an unknown table, or a folder
    that cannot be written.
    """
    path = Path(path)
    write = {".jsonl": _write_jsonl, ".parquet": _write_parquet}.get(path.suffix)
    if write is None:
        raise ConfigError(f"expected a path ending in .jsonl or .parquet, was {path.name!r}")
    if table != EXPERIENCES and table not in m.metadata.tables:
        names = ", ".join([EXPERIENCES, *sorted(m.metadata.tables)])
        raise ConfigError(f"expected a table ({names}), was {table!r}")
    source = None if table == EXPERIENCES else m.metadata.tables[table]
    pages = _experiences(library) if source is None else _rows(library, source)
    names_of = _COLUMNS if source is None else tuple(c.name for c in source.columns)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            count = write(file, pages, names_of, source)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as e:
        raise ConfigError(f"expected to write {path}, was: {e.strerror}") from e
    finally:
        part.unlink(missing_ok=True)
    return count


def _experiences(library: Library) -> Iterator[Page]:
    encode = msgspec.json.encode
    for page in library.pages(size=_PAGE):
        yield [
            (
                x.run_id,
                x.decision.decision_id,
                x.decision.ts_event,
                x.reward,
                encode(x.decision),
                encode(x.outcomes),
            )
            for x in page
        ]


def _rows(library: Library, table: Table) -> Iterator[Page]:
    query = select(table).order_by(*table.primary_key.columns)
    unpack: Callable[[Any], Any] = unpack_case if table is m.cases else lambda body: body
    body = list(table.columns.keys()).index("body") if "body" in table.columns else None
    with library.reading() as connection:
        result = connection.execution_options(yield_per=_PAGE).execute(query)
        for page in result.partitions():
            rows = [tuple(row) for row in page]
            if body is not None:
                rows = [(*r[:body], unpack(r[body]), *r[body + 1 :]) for r in rows]
            yield rows


def _write_jsonl(
    file: IO[bytes], pages: Iterator[Page], names: tuple[str, ...], _table: Table | None
) -> int:
    nested = {"decision", "outcomes", "body", "leave_one_out", "config", "manifest"}
    raw = [name in nested for name in names]
    encoder = msgspec.json.Encoder()
    count = 0
    for page in pages:
        for row in page:
            cells = (_raw(x) if r else x for x, r in zip(row, raw, strict=True))
            file.write(encoder.encode(dict(zip(names, cells, strict=True))) + b"\n")
        count += len(page)
    return count


def _raw(json: str | bytes) -> msgspec.Raw:
    return msgspec.Raw(json.encode() if isinstance(json, str) else json)


def _write_parquet(
    file: IO[bytes], pages: Iterator[Page], names: tuple[str, ...], table: Table | None
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers, reals = {"ts_event"}, {"reward"}
    if table is not None:
        integers = {c.name for c in table.columns if isinstance(c.type, BigInteger)}
        reals = {c.name for c in table.columns if isinstance(c.type, Double)}
    kinds = {
        n: pa.int64() if n in integers else pa.float64() if n in reals else pa.string()
        for n in names
    }
    schema = pa.schema(list(kinds.items()))
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for page in pages:
            columns = zip(*page, strict=True)
            arrays = [
                pa.array([_cell(x) for x in column], kind)
                for column, kind in zip(columns, kinds.values(), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(page)
    return count


def _cell(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
