"""
Where the library lives: SQLite in WAL mode by default, PostgreSQL by URL.

Opens the database, checks that it is ours and not newer than this code, makes or migrates the
schema in one transaction, and turns a database's complaint into one line that says what to mend.
SQLite runs with `synchronous=NORMAL`: what was committed survives the death of the process,
and the database survives a power cut, though the last commits may not.
It knows no messages.
"""

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from config.errors import MOST_SHOWN, ConfigError, DataError, cut, printable, shown
from learning.experience.models import KNOWN_SCHEMAS, SCHEMA

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10.0
CONNECT_SECONDS = 5  # until a database server has answered, at most
_CACHE_KIB = 65_536
_WRITES = "quarterdeck_writes"
_MIGRATION_LOCK = 0x51D  # any number that no other program locks in the same database

# SQLite's result codes, by the start of their names: what was expected, what was found.
_SQLITE_COMPLAINTS = (
    ("SQLITE_BUSY", "an unlocked library", "locked by another process"),
    ("SQLITE_LOCKED", "an unlocked library", "locked by another process"),
    ("SQLITE_READONLY", "a library that may be written", "read-only"),
    ("SQLITE_FULL", "room for the library", "a full disk"),
    ("SQLITE_IOERR", "a disk that can be read and written", "an I/O error or a full disk"),
    ("SQLITE_NOTADB", "a SQLite library", "another kind of file"),
    ("SQLITE_CORRUPT", "a sound SQLite library", "a damaged file"),
    ("SQLITE_CANTOPEN", "a library that may be opened and written", "not to be opened"),
)


def library_url(where: str | Path) -> URL:
    """
    Return the URL of a path or of a URL's text.

    Raises ConfigError unless it names a SQLite file or a PostgreSQL database.
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise ConfigError("expected a path or a database URL, was neither") from None
    if "@" in (url.host or ""):  # what follows the first @ may still be the password
        raise ConfigError("expected %40 for an @ in a library's user or password, was an @")
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigError(
            "expected a library at sqlite:///FILE or postgresql://USER@HOST/NAME, "
            f"was {shown(_name(url))}"
        )
    if any((url.host, url.username, url.password)) or not _is_timeout(url.query):
        raise ConfigError(
            "expected a library at sqlite:///FILE, with ?timeout=SECONDS or without, "
            f"was one with more before or after {shown(url.database)}"
        )
    return url.set(drivername="sqlite")


def _is_timeout(query: Mapping[str, Any]) -> bool:
    """Return whether a SQLite URL's query is none, or how long to wait for a lock."""
    seconds = re.fullmatch(r"\d{1,4}(\.\d{1,3})?", str(query.get("timeout", "0")))
    return not query.keys() - {"timeout"} and seconds is not None


def connect(url: URL, *, create: bool) -> Engine:
    """
    Return an engine on a library whose schema is this code's.

    `create` makes a missing SQLite file and an empty database's tables. An older schema is
    migrated either way. Raises ConfigError as the module says.
    """
    if url.get_backend_name() == "sqlite":
        _check_file(url, create=create)
    with one_line(url):
        engine = _engine(url)
        try:
            _ensure_schema(engine, url, create=create)
        except BaseException:
            engine.dispose()
            raise
    return engine


def check_library(where: str | Path, *, create: bool) -> None:
    """
    Raise ConfigError unless a library is there, or, with `create`, can be made there.

    A library that is there must be ours, free to be written, and is left as it was.
    """
    url = library_url(where)
    if url.get_backend_name() == "sqlite":
        _check_file(url, create=create)
        path = Path(url.database or "")
        if not path.exists():
            if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
                raise ConfigError(f"expected a library that may be written at {path}, was none")
            return
    with one_line(url):
        engine = _engine(url)
        try:
            with writing(engine).begin() as connection:
                _schema_version(connection, url)
        finally:
            engine.dispose()


def writing(engine: Engine) -> Engine:
    """Return the engine in a form whose transactions take the write lock at once."""
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def one_line(url: URL) -> Iterator[None]:
    """Turn what a database raises into ConfigError or DataError, in one line without secrets."""
    try:
        yield
    except IntegrityError as e:
        raise DataError(f"expected rows that fit {_name(url)}, was: {_first_line(e)}") from e
    except (SQLAlchemyError, sqlite3.Error, ImportError, UnicodeError) as e:  # no driver, no host
        raise ConfigError(_explain(e, url)) from e


def _check_file(url: URL, *, create: bool) -> None:
    path = Path(url.database or "")
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as e:
        raise ConfigError(f"expected a library at {shown(str(path))}, was: {e.strerror}") from e
    if is_folder:
        raise ConfigError(f"expected a file for the library, was a folder: {path}")
    if not exists and not create:
        raise ConfigError(f"expected a library at {path}, was no file")
    if not exists and not path.absolute().parent.is_dir():
        raise ConfigError(f"expected a folder for the library, was none: {path.parent}")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        limit = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
        return create_engine(url, pool_pre_ping=True, connect_args=limit)
    timeout = {} if "timeout" in url.query else {"timeout": BUSY_SECONDS}
    engine = create_engine(url, connect_args=timeout)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we begin transactions ourselves: DDL included
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON", f"cache_size=-{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _ensure_schema(engine: Engine, url: URL, *, create: bool) -> None:
    with engine.connect() as connection:
        version = _schema_version(connection, url)
    if version == SCHEMA:
        return
    if version is None and not create:
        raise ConfigError(f"expected a library at {_name(url)}, was an empty database")
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        if _schema_version(connection, url) != SCHEMA:  # another process may have been first
            migrate(connection)


def _use_wal(engine: Engine) -> None:
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


def _schema_version(connection: Connection, url: URL) -> str | None:
    """Return the schema's version, None for an empty database; refuse what is not ours."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables or "runs" not in tables:
        names = ", ".join(sorted(tables)[:3])
        raise ConfigError(
            f"expected a library or an empty database at {_name(url)}, was one with {names}"
        )
    version = str(
        connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    )
    if version not in KNOWN_SCHEMAS:
        raise ConfigError(
            f"expected a library of schema {SCHEMA} or older at {_name(url)}, "
            f"was {version}: made by a newer Quarterdeck"
        )
    return version


def migrate(connection: Connection, target: str = "head") -> None:
    """Bring the database of this open transaction to a schema version, "base" for none."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    if target == "base":
        command.downgrade(config, target)
    else:
        command.upgrade(config, target)


def _explain(error: Exception, url: URL) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = str(getattr(cause, "sqlite_errorname", ""))
    for start, expected, was in _SQLITE_COMPLAINTS:
        if code.startswith(start):
            return f"expected {expected} at {_name(url)}, was {was}"
    said = _first_line(error)
    for secret in (url.password, url.query.get("password")):
        said = said.replace(str(secret), "***") if secret else said
    return f"expected a working library at {_name(url)}, was: {said}"


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = str(cause).strip() or type(cause).__name__
    return cut(printable(text.splitlines()[0]), 160)


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return cut(printable(url.set(query={}).render_as_string(hide_password=True)), MOST_SHOWN)
