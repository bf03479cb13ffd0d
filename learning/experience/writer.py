"""
A run's pen: takes records one by one and commits them in whole transactions.

Records wait in memory until `flush`, or until there are many; then all their rows go in one
transaction, in batches by table, with ON CONFLICT DO NOTHING: a rerun of a killed run adds what
is missing and doubles nothing. A decision's rows are never split between two transactions, and
a full buffer waits for the decision of each case that it holds. A flush that fails writes
nothing and keeps the records, so that it can be tried again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import cast

from sqlalchemy import URL, Engine, Table

from agents.messages import Case, Decision
from agents.protocols import Record
from learning.experience.models import metadata
from learning.experience.rows import Batch, JudgeScore, append, row_count
from learning.experience.store import one_line, writing

BUFFER_ROWS = 20_000


class RunWriter:
    """The `ExperienceWriter` of one run; not for two threads at once."""

    def __init__(self, engine: Engine, url: URL, run_id: str) -> None:
        self.run_id = run_id
        self._engine = writing(engine)
        self._url = url
        self._pending: list[Record | JudgeScore] = []
        self._rows = 0
        self._undecided = 0
        mark = "?" if engine.dialect.name == "sqlite" else "%s"
        self.inserts = {t.name: _insert(t, mark) for t in metadata.sorted_tables}

    def add(self, record: Record | JudgeScore) -> None:
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
        does not fit (a NaN, a decision's part without the decision); nothing is written then and
        the records stay.
        """
        if not self._pending:
            return
        batch: Batch = defaultdict(list)
        for record in self._pending:
            append(self.run_id, record, batch)
        with one_line(self._url), self._engine.begin() as connection:
            for table, insert in self.inserts.items():
                if rows := batch.get(table):
                    connection.exec_driver_sql(insert, cast("list[tuple[object, ...]]", rows))
        self._pending = []
        self._rows = 0
        self._undecided = 0


def _insert(table: Table, mark: str) -> str:
    """Write out the statement in the driver's own marks: rows then go to it as they are."""
    columns = [c.name for c in table.columns]
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) "
        f"VALUES ({', '.join([mark] * len(columns))}) ON CONFLICT DO NOTHING"
    )
