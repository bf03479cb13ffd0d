"""
The experience library: runs write through it and learners read from it.

    with open_library("runs/library.db") as library:
        writer = library.writer(run)
        writer.add(decision)
        writer.flush()
        library.finish_run(run.run_id, "completed")
        best = library.top(min_reward=0.7, limit=1000)

It reads no clock: a run's `created_at` is given. Where one decision_id is in several runs and no
run is named, the newest run answers (by `created_at`, then run_id).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Select,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)

from agents.messages import Case, Decision, JuniorName, Outcome, Regime
from backtest.identity import identity_of
from backtest.statistics.trials import Trial
from config.errors import ConfigError, DataError
from learning.experience import models as m
from learning.experience.returns import read_trials, returns_row
from learning.experience.rows import Experience, Row, read_case, read_decision, read_outcome
from learning.experience.store import connect, library_url, one_line, writing
from learning.experience.writer import NEVER_MIXED, RunWriter

type RunStatus = Literal["running", "completed", "interrupted", "failed"]
IDENTITY_COLUMNS = ("data_digest", "code_version", "seed", "start_state")
STATUSES: tuple[RunStatus, ...] = ("running", "completed", "interrupted", "failed")


@dataclass(frozen=True)
class ModelInfo:
    """
    One model that a run used: its weights' SHA-256 and the window that it was trained on.

    The window is in UTC nanoseconds; None where a model was not trained.
    """

    role: str
    name: str
    sha256: str
    window_start: int | None = None
    window_end: int | None = None


@dataclass(frozen=True)
class RunInfo:
    """
    What a run is, before it starts; `config` and `manifest` are JSON text.

    `source_digest` is that of the whole source before dates and symbols were chosen: runs of one
    source are each other's trials.
    """

    run_id: str
    name: str
    config: str
    data_digest: str
    code_version: str
    seed: int
    start_state: str
    source_digest: str
    manifest: str = "{}"
    models: tuple[ModelInfo, ...] = ()


@dataclass(frozen=True)
class RunRow:
    """A run as the library holds it; `created_at` in UTC nanoseconds, None if never given."""

    run_id: str
    name: str
    status: RunStatus
    created_at: int | None
    seed: int
    data_digest: str
    code_version: str
    start_state: str
    config: str
    manifest: str


def open_library(where: str | Path, *, create: bool = True) -> Library:
    """
    Return the library at a path (SQLite) or a URL (sqlite, postgresql).

    `create` makes it where there is none; an older schema is migrated.
    Raises ConfigError, in one line, on a wrong URL, a missing folder, a file that is not a
    library, a newer schema, or a database that is locked, read-only, full or away.
    """
    url = library_url(where)
    return Library(connect(url, create=create), url)


class Library:
    """An open library; a context manager. All its methods raise ConfigError as `open_library`."""

    def __init__(self, engine: Engine, url: URL) -> None:
        self.engine = engine
        self._url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that SQLite keeps the library in; none of another database."""
        if self._url.get_backend_name() != "sqlite":
            return ()
        file = Path(self._url.database or "").resolve()
        return tuple(file.with_name(file.name + end) for end in ("", "-wal", "-shm", "-journal"))

    def close(self) -> None:
        """Let go of the database; what was not flushed is not kept."""
        self.engine.dispose()

    # --- writing ---------------------------------------------------------------------------------

    def writer(self, run: RunInfo, *, created_at: int | None = None) -> RunWriter:
        """
        Return the writer of a run, entered here as running.

        A run that is there already, from before it was killed, is taken up again: it keeps its
        first `created_at`. One that was completed stays so: it has nothing left to add. Raises
        DataError where the library holds another run under its id.
        """
        row: dict[str, Any] = {c.name: getattr(run, c.name, None) for c in m.runs.c}
        row |= {"status": "running", "created_at": created_at}
        used = [{"run_id": run.run_id, **asdict(model)} for model in run.models]
        with one_line(self._url), writing(self.engine).begin() as connection:
            self._insert_once(connection, m.runs, [row])
            self._insert_once(connection, m.models, used)
            completed = self._held(connection, run) == "completed"
            self._set_status(connection, run.run_id, "running")
        return RunWriter(self.engine, self._url, run.run_id, completed=completed)

    def finish_run(
        self,
        run_id: str,
        status: RunStatus,
        earned: Trial | None = None,
        sessions_per_year: int | None = None,
    ) -> None:
        """
        Set a run's status, and keep what it earned as a trial of later runs, where it has that.

        A completed run stays completed, however a rerun of it ends.
        Raises ConfigError on an unknown run or status.
        """
        if status not in STATUSES:
            raise ConfigError(f"expected a status ({', '.join(STATUSES)}), was {status!r}")
        with one_line(self._url), writing(self.engine).begin() as connection:
            if self._set_status(connection, run_id, status, earned, sessions_per_year):
                connection.execute(delete(m.run_returns).where(m.run_returns.c.run_id == run_id))
                if earned is not None:
                    connection.execute(insert(m.run_returns), [returns_row(run_id, earned)])

    def _held(self, connection: Connection, run: RunInfo) -> str:
        """Return the status of the run held under an id; raise DataError unless it is this run."""
        c = m.runs.c
        columns = [c[name] for name in (*IDENTITY_COLUMNS, "manifest", "status")]
        query = select(*columns).where(c.run_id == run.run_id)
        *held, manifest, status = connection.execute(query).one()
        was = dict(zip(IDENTITY_COLUMNS, held, strict=True)) | _identity(manifest)
        now = {name: getattr(run, name) for name in IDENTITY_COLUMNS} | _identity(run.manifest)
        differing = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        if differing:
            raise DataError(
                f"expected run {run.run_id} as the library holds it, "
                f"was one of other {', '.join(differing)}: {NEVER_MIXED}"
            )
        return str(status)

    @staticmethod
    def _insert_once(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        if connection.dialect.name == "sqlite":
            from sqlalchemy.dialects.sqlite import insert as insert_into
        else:
            from sqlalchemy.dialects.postgresql import (  # type: ignore[assignment]
                insert as insert_into,
            )
        if rows:
            connection.execute(insert_into(table).on_conflict_do_nothing(), rows)

    @staticmethod
    def _set_status(
        connection: Connection,
        run_id: str,
        status: str,
        earned: Trial | None = None,
        sessions_per_year: int | None = None,
    ) -> bool:
        """Set what a run came to, and tell whether that was done: a completed run stays so."""
        c = m.runs.c
        held = connection.execute(select(c.status).where(c.run_id == run_id)).scalar_one_or_none()
        if held is None:
            raise ConfigError(f"expected a run in the library, was {run_id!r}")
        if held == "completed" and status != "completed":
            return False
        values = {
            "status": status,
            "sharpe": None if earned is None else earned.sharpe,
            "sessions_per_year": sessions_per_year,
        }
        connection.execute(update(m.runs).where(c.run_id == run_id).values(values))
        return True

    # --- one thing -------------------------------------------------------------------------------

    def decision(self, decision_id: str, run_id: str | None = None) -> Decision | None:
        """Return one decision, or None when the library does not hold it."""
        body = self.decision_json(decision_id, run_id)
        return None if body is None else read_decision(body)

    def decision_json(self, decision_id: str, run_id: str | None = None) -> bytes | None:
        """Return the very bytes that msgspec made of a decision when it was added."""
        body = self._body(m.decisions, decision_id, run_id)
        return None if body is None else str(body).encode()

    def case(self, decision_id: str, run_id: str | None = None) -> Case | None:
        """Return the case that a decision was made on, whole, or None."""
        body = self._body(m.cases, decision_id, run_id)
        return None if body is None else read_case(body)

    def outcomes(self, decision_id: str, run_id: str) -> tuple[Outcome, ...]:
        """Return how a decision's proposals ended, by symbol."""
        c = m.outcomes.c
        query = (
            select(m.outcomes)
            .where(c.run_id == run_id, c.decision_id == decision_id)
            .order_by(c.symbol)
        )
        with self.reading() as connection:
            return tuple(map(read_outcome, _tuples(connection, query)))

    def _body(self, table: Table, decision_id: str, run_id: str | None) -> Any:
        c = table.c
        query = (
            select(c.body)
            .join(m.runs, m.runs.c.run_id == c.run_id)
            .where(c.decision_id == decision_id)
            .order_by(func.coalesce(m.runs.c.created_at, 0).desc(), m.runs.c.run_id.desc())
            .limit(1)
        )
        if run_id is not None:
            query = query.where(c.run_id == run_id)
        with self.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    # --- many ------------------------------------------------------------------------------------

    def top(
        self, min_reward: float = 0.7, limit: int = 1000, run_id: str | None = None
    ) -> list[Experience]:
        """Return the best-rewarded decisions, best first, of one run or of all."""
        c = m.rewards.c
        keys = _rewarded(run_id).where(c.value >= min_reward)
        return self._experiences(keys.order_by(c.value.desc(), c.run_id, c.decision_id), limit)

    def failed(
        self, max_reward: float = 0.3, limit: int = 1000, run_id: str | None = None
    ) -> list[Experience]:
        """Return the worst-rewarded decisions, worst first: what healing starts from."""
        c = m.rewards.c
        keys = _rewarded(run_id).where(c.value <= max_reward)
        order = (c.value, c.run_id.desc(), c.decision_id.desc())
        return self._experiences(keys.order_by(*order), limit)

    def by_regime(self, regime: Regime, limit: int = 1000) -> list[Experience]:
        """Return rewarded decisions made under a regime, newest first."""
        d = m.decisions.c
        return self._experiences(_newest_first().where(d.regime == regime), limit)

    def by_junior(self, junior: JuniorName, limit: int = 1000) -> list[Experience]:
        """Return rewarded decisions for which a junior had an opinion, newest first."""
        d, o = m.decisions.c, m.opinions.c
        spoke = exists().where(
            o.run_id == d.run_id,
            o.decision_id == d.decision_id,
            o.junior == junior,
            o.abstained.is_(None),
        )
        return self._experiences(_newest_first().where(spoke), limit)

    def runs(self) -> list[RunRow]:
        """Return all runs, newest first."""
        c = m.runs.c
        columns = [c[name] for name in RunRow.__dataclass_fields__]
        query = select(*columns).order_by(func.coalesce(c.created_at, 0).desc(), c.run_id.desc())
        with self.reading() as connection:
            return [RunRow(*row) for row in connection.execute(query)]

    def trials(self, run_id: str, first_ns: int, last_ns: int) -> tuple[Trial, ...]:
        """
        Return the trials that the deflated Sharpe ratio of a run must count, oldest first.

        They are the completed runs on the same source whose sessions overlap first_ns..last_ns.
        A run from before returns were kept counts where its data were the same, by its Sharpe
        ratio alone.
        """
        with self.reading() as connection:
            return read_trials(connection, run_id, first_ns, last_ns)

    def models(self, run_id: str) -> list[ModelInfo]:
        """Return the models that a run used, by role and name."""
        c = m.models.c
        columns = [c[name] for name in ModelInfo.__dataclass_fields__]
        query = select(*columns).where(c.run_id == run_id).order_by(c.role, c.name)
        with self.reading() as connection:
            return [ModelInfo(*row) for row in connection.execute(query)]

    def counts(self, run_id: str) -> dict[str, int]:
        """Return how many rows each table holds of a run."""
        with self.reading() as connection:
            return {
                table.name: connection.execute(
                    select(func.count()).select_from(table).where(table.c.run_id == run_id)
                ).scalar_one()
                for table in m.metadata.sorted_tables
                if table is not m.runs
            }

    def pages(self, run_id: str | None = None, size: int = 1000) -> Iterator[list[Experience]]:
        """Yield all experiences, by (run_id, decision_id), a page at a time."""
        c = m.rewards.c
        keys = _rewarded(run_id).order_by(c.run_id, c.decision_id)
        page = self._experiences(keys, size)
        while page:
            yield page
            last = page[-1]
            after = tuple_(c.run_id, c.decision_id) > tuple_(
                last.run_id, last.decision.decision_id
            )
            page = self._experiences(keys.where(after), size)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection in a transaction that only reads: one moment's library."""
        with one_line(self._url), self.engine.connect() as connection:
            yield connection

    def _experiences(self, keys: Select[Any], limit: int) -> list[Experience]:
        """Return the experiences of (run_id, decision_id, reward) rows, in their order."""
        chosen = keys.limit(limit).subquery()
        d, o = m.decisions.c, m.outcomes.c
        bodies = select(chosen.c.run_id, chosen.c.decision_id, d.body).join(
            m.decisions, (d.run_id == chosen.c.run_id) & (d.decision_id == chosen.c.decision_id)
        )
        ended = select(m.outcomes).join(
            chosen, (o.run_id == chosen.c.run_id) & (o.decision_id == chosen.c.decision_id)
        )
        with _collector_paused(), self.reading() as connection:
            ordered = _tuples(connection, keys.limit(limit))
            decisions = {
                (run, key): read_decision(body) for run, key, body in _tuples(connection, bodies)
            }
            outcomes: dict[tuple[str, str], list[Outcome]] = {}
            for row in _tuples(connection, ended):
                outcomes.setdefault(row[:2], []).append(read_outcome(row))
            return [
                Experience(
                    run_id=run,
                    decision=decisions[run, key],
                    outcomes=tuple(sorted(outcomes.get((run, key), ()), key=attrgetter("symbol"))),
                    reward=value,
                )
                for run, key, value in ordered
            ]


def _identity(manifest: str) -> dict[str, Any]:
    return identity_of(msgspec.json.decode(manifest, type=dict[str, Any]))


def _tuples(connection: Connection, query: Select[Any]) -> list[Row]:
    """Fetch the driver's own tuples: no column here needs SQLAlchemy's conversions."""
    cursor = connection.execute(query).cursor
    return [] if cursor is None else list(cursor.fetchall())


@contextmanager
def _collector_paused() -> Iterator[None]:
    """
    Hold back Python's cycle collector while many messages are made.

    Messages cannot form cycles, and the collector would walk all of them again and again as they
    appear.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _rewarded(run_id: str | None) -> Select[Any]:
    """Select the key and reward of every decision of a run, or of all, that has its own reward."""
    c = m.rewards.c
    query = select(c.run_id, c.decision_id, c.value).where(m.of_decisions)
    return query if run_id is None else query.where(c.run_id == run_id)


def _newest_first() -> Select[Any]:
    d, r = m.decisions.c, m.rewards.c
    return (
        select(d.run_id, d.decision_id, r.value)
        .join(m.rewards, (r.run_id == d.run_id) & (r.decision_id == d.decision_id))
        .where(m.of_decisions)
        .order_by(d.ts_event.desc(), d.run_id, d.decision_id)
    )
