"""
Writes a run's records: takes them one by one and commits them in whole transactions.

Records wait in memory until `flush`, or until there are many; then all their rows go in one
transaction, in batches by table, with ON CONFLICT DO NOTHING: a rerun of a killed run adds what
is missing and doubles nothing. A row that is not the one held under its key is another run's and
is refused, as is any new row of a run that was completed. A decision's rows are never split
between two transactions, and a full buffer waits for the decision of each case that it holds. A
flush that fails writes nothing and keeps the records, so that it can be tried again.
"""

from collections import defaultdict
from typing import cast

from sqlalchemy import URL, Connection, Engine, Table

from agents.messages import Case, Decision
from agents.protocols import Record
from config.errors import DataError
from learning.experience.models import metadata
from learning.experience.rows import Batch, Row, append, row_count
from learning.experience.store import one_line, writing

BUFFER_ROWS = 20_000
MOST_KEYS = 200  # of one query: databases bound the parameters of a statement
NAMED_BY_CONTENT = ("cases", "verdicts")  # their keys are hashes of what they hold
NEVER_MIXED = "two runs are never kept under one id"


class RunWriter:
    """The `ExperienceWriter` of one run; not for two threads at once."""

    def __init__(self, engine: Engine, url: URL, run_id: str, *, completed: bool = False) -> None:
        self.run_id = run_id
        self._completed = completed
        self._engine = writing(engine)
        self._url = url
        self._pending: list[Record] = []
        self._rows = 0
        self._undecided = 0
        self._mark = "?" if engine.dialect.name == "sqlite" else "%s"
        self.inserts = {t.name: _insert(t, self._mark) for t in metadata.sorted_tables}

    def add(self, record: Record) -> None:
        """Take one record; it is durable after the next `flush`. Raises as `flush`."""
        self._pending.append(record)
        self._rows += row_count(record)
        if isinstance(record, Case):
            self._undecided += 1
        elif isinstance(record, Decision):
            self._undecided = max(0, self._undecided - 1)
        if self._rows >= BUFFER_ROWS and not self._undecided:
            self.flush()

    def flush(self) -> None:
        """
        Commit everything added so far in one transaction.

        Raises ConfigError if the database is locked, read-only or full, and DataError if a row
        does not fit (a NaN, a decision's part without the decision) or is another run's;
        nothing is written then and the records stay.
        """
        if not self._pending:
            return
        batch: Batch = defaultdict(list)
        for record in self._pending:
            append(self.run_id, record, batch)
        with one_line(self._url), self._engine.begin() as connection:
            for table, insert in self.inserts.items():
                if rows := batch.get(table):
                    added = connection.exec_driver_sql(
                        insert, cast("list[tuple[object, ...]]", rows)
                    ).rowcount
                    if added and self._completed:
                        raise DataError(
                            f"expected no new row of {table} in run {self.run_id}, which was "
                            f"completed, was {added}: {NEVER_MIXED}"
                        )
                    if added < len(rows) and table not in NAMED_BY_CONTENT:
                        self._refuse_others(connection, metadata.tables[table], rows)
        self._pending = []
        self._rows = 0
        self._undecided = 0

    def _refuse_others(self, connection: Connection, table: Table, rows: list[Row]) -> None:
        """Raise DataError unless the rows that are held under these rows' keys are these rows."""
        columns = [c.name for c in table.columns]
        keys = [c.name for c in table.primary_key.columns]
        places = [columns.index(name) for name in keys]
        one = f"({', '.join([self._mark] * len(keys))})"
        same = " AND ".join(f"t.{name} = k.{name}" for name in keys)
        for first in range(0, len(rows), MOST_KEYS):
            asked = {tuple(row[i] for i in places): row for row in rows[first : first + MOST_KEYS]}
            query = (
                f"WITH k ({', '.join(keys)}) AS (VALUES {', '.join([one] * len(asked))}) "
                f"SELECT {', '.join(f't.{name}' for name in columns)} "
                f"FROM k JOIN {table.name} t ON {same}"
            )
            for held in connection.exec_driver_sql(query, tuple(v for key in asked for v in key)):
                key = tuple(held[i] for i in places)
                if tuple(held) != asked[key]:
                    raise DataError(
                        f"expected the row of {table.name} {'/'.join(map(str, key))} as the "
                        f"library holds it, was another: {NEVER_MIXED}"
                    )


def _insert(table: Table, mark: str) -> str:
    """Write out the statement in the driver's own marks: rows then go to it as they are."""
    columns = [c.name for c in table.columns]
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) "
        f"VALUES ({', '.join([mark] * len(columns))}) ON CONFLICT DO NOTHING"
    )
