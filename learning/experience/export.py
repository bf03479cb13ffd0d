"""
The library as files: a table, or whole experiences, as JSON lines or Parquet.

Rows are in key order, so that the same library gives the same file. A file appears whole or not
at all, and one that is there is replaced only where the caller says so. What the library keeps
compressed leaves as the JSON that it is; in Parquet an experience's decision and outcomes are
JSON text, in JSON lines they are nested.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import BigInteger, Double, LargeBinary, Table, func, select

from config.errors import ConfigError
from config.files.in_use import in_use
from config.files.paths import check_file
from config.files.whole import whole_file
from learning.experience import models as m
from learning.experience.library import Library
from learning.experience.rows import Experience, unpack_body

EXPERIENCES = "experiences"
_PAGE = 1000
_COLUMNS = ("run_id", "decision_id", "ts_event", "reward", "decision", "outcomes")

type Page = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Chosen:
    """
    What leaves the library: a table, or "experiences" (decision, outcomes, reward).

    `run_id` keeps to one run. Of experiences, `min_reward` leaves out the worse, and `top` takes
    so many of the best, best first; without it they are in key order.
    """

    table: str = EXPERIENCES
    run_id: str | None = None
    top: int | None = None
    min_reward: float | None = None


def export(
    library: Library,
    path: str | Path,
    chosen: Chosen = Chosen(),
    *,
    form: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> int:
    """
    Write what was chosen to a file, and return how many rows.

    `form` is "jsonl" or "parquet", by default as the path ends. `progress` is called with the
    rows written and those that there are to read, page by page.
    Raises ConfigError on another form, an unknown table, a choice by reward among a table's rows,
    the library's own files, a file that is there (unless `overwrite`, and its name ends as the
    form's do), or a folder that cannot be made or written.
    """
    path = Path(path)
    form = form or path.suffix.removeprefix(".")
    if form not in WRITERS:
        raise ConfigError(f"expected a path ending in .jsonl or .parquet, was {path.name!r}")
    whole = chosen.table == EXPERIENCES
    if not whole and chosen.table not in m.metadata.tables:
        names = ", ".join([EXPERIENCES, *sorted(m.metadata.tables)])
        raise ConfigError(f"expected a table ({names}), was {chosen.table!r}")
    if not whole and (chosen.top is not None or chosen.min_reward is not None):
        raise ConfigError(f"expected {EXPERIENCES} to choose by reward, was {chosen.table}")
    if chosen.min_reward is not None and math.isnan(chosen.min_reward):
        raise ConfigError("expected a number as the least reward, was nan")
    if path.resolve() in library.files:
        raise ConfigError(f"expected a new file, was the library's own {path}: not replaced")
    if path.exists() and not (overwrite and path.is_file() and path.suffix == f".{form}"):
        which = f"a new file or one ending in .{form}" if overwrite else "a new file"
        raise ConfigError(f"expected {which}, was {path}: not replaced")
    check_file(path)
    source = None if whole else m.metadata.tables[chosen.table]
    pages = _experiences(library, chosen) if source is None else _rows(library, source, chosen)
    names_of = _COLUMNS if source is None else tuple(c.name for c in source.columns)
    of = _count(library, chosen)
    with in_use(path), whole_file(path) as file:
        return WRITERS[form](file, _watched(pages, of, progress), names_of, source)


def _watched(
    pages: Iterator[Page], of: int, progress: Callable[[int, int], None]
) -> Iterator[Page]:
    done = 0
    for page in pages:
        yield page
        done += len(page)
        progress(done, of)


def _count(library: Library, chosen: Chosen) -> int:
    """Return how many rows there are to read, at most."""
    whole = chosen.table == EXPERIENCES
    table = m.rewards if whole else m.metadata.tables[chosen.table]
    query = select(func.count()).select_from(table)
    if whole:
        query = query.where(m.of_decisions)
    if chosen.run_id is not None:
        query = query.where(table.c.run_id == chosen.run_id)
    if whole and chosen.min_reward is not None:
        query = query.where(m.rewards.c.value >= chosen.min_reward)
    with library.reading() as connection:
        count = int(connection.execute(query).scalar_one())
    return count if chosen.top is None else min(count, chosen.top)


def _experiences(library: Library, chosen: Chosen) -> Iterator[Page]:
    encode = msgspec.json.encode
    least = -math.inf if chosen.min_reward is None else chosen.min_reward
    pages: Iterable[list[Experience]] = library.pages(chosen.run_id, size=_PAGE)
    if chosen.top is not None:
        pages = [library.top(least, chosen.top, chosen.run_id)]
    for page in pages:
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
            if x.reward >= least
        ]


def _rows(library: Library, table: Table, chosen: Chosen) -> Iterator[Page]:
    query = select(table).order_by(*table.primary_key.columns)
    if chosen.run_id is not None:
        query = query.where(table.c.run_id == chosen.run_id)
    packed = [i for i, c in enumerate(table.columns) if isinstance(c.type, LargeBinary)]
    with library.reading() as connection:
        result = connection.execution_options(yield_per=_PAGE).execute(query)
        for page in result.partitions():
            rows = [list(row) for row in page]
            for row in rows:
                for i in packed:
                    row[i] = unpack_body(row[i])
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


WRITERS = {"jsonl": _write_jsonl, "parquet": _write_parquet}
