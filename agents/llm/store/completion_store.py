"""
Stores completions in one SQLite file (WAL), with one transaction a batch.

`user_version` is the schema's version and `application_id` says that the file is ours; another
file is refused as it is. What is asked apart from the messages - model, schema, sampling - is the
same for many questions and stands once in `terms`. Positions only grow: an answer that takes an
earlier one's place gets a new one, so that "what was kept until then" can be asked for. It knows
keys and bytes, and no backend.
"""

import hashlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from agents.llm.chat import Completion, Failure, ModelIdentity, Role
from config.errors import ConfigError, one_line

SCHEMA_VERSION = 1
APPLICATION_ID = 0x51444B43  # "QDKC"
BUSY_SECONDS = 10.0
CACHE_KIB = 65_536
MOST_KEYS = 500  # of one query: SQLite bounds the parameters of a statement
MOST_POSITION = 2**63 - 1

TABLES = """
CREATE TABLE identities (
    position INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, role TEXT NOT NULL, configured TEXT NOT NULL, identity TEXT NOT NULL,
    UNIQUE (kind, role, configured, identity)
);
CREATE TABLE terms (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE completions (
    position INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    prompt BLOB NOT NULL,
    terms INTEGER NOT NULL REFERENCES terms (id),
    failed INTEGER NOT NULL,
    answer BLOB NOT NULL
);
CREATE INDEX completions_prompt ON completions (prompt);
"""

_ENCODE = msgspec.json.Encoder().encode
_COMPLETION = msgspec.json.Decoder(Completion)
_FAILURE = msgspec.json.Decoder(Failure)
_IDENTITY = msgspec.json.Decoder(ModelIdentity)


class Asked(msgspec.Struct, frozen=True):
    """What a completion depends on beside the messages."""

    identity: ModelIdentity
    schema: str
    max_tokens: int
    temperature: float
    seed: int


class Served(NamedTuple):
    """Whose answer: the kind of engine, the role, and what the engine is configured to."""

    kind: str
    role: Role
    configured: str


class Kept(NamedTuple):
    """An answer and the very bytes that are kept of it."""

    answer: Completion | Failure
    body: bytes


class Entry(NamedTuple):
    """What is kept of one question: its key, the hash of its messages, its terms, its answer."""

    key: bytes
    prompt: bytes
    asked: Asked
    kept: Kept


_ASKED = msgspec.json.Decoder(Asked)


class CompletionStore:
    """
    An open file of completions, made where there is none; for one caller at a time, any thread.

    Raises ConfigError, in one line, where the file is no cache of this version or cannot be
    opened, and later where it cannot be read or written (locked, full); nothing is changed then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._terms: dict[Asked, int] = {}
        self._until = MOST_POSITION
        with self._one_line():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._one_line():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Return what is kept under some keys: one query for a batch."""
        found: dict[bytes, Kept] = {}
        for first in range(0, len(keys), MOST_KEYS):
            some = keys[first : first + MOST_KEYS]
            marks = ",".join("?" * len(some))
            query = (
                f"SELECT key, failed, answer FROM completions "
                f"WHERE key IN ({marks}) AND position <= ?"
            )
            with self._one_line():
                for key, failed, body in self._db.execute(query, (*some, self._until)):
                    found[key] = Kept((_FAILURE if failed else _COMPLETION).decode(body), body)
        return found

    def fix(self, identities: Collection[ModelIdentity], seed: int, *, failures: bool) -> str:
        """
        Find, from here on, only what is kept now; return the digest of what that may answer.

        The digest is the SHA-256 of keys and answers, by key, of what these models were asked
        under a schema with this seed; of failures too where they count as answers.
        """
        digest = hashlib.sha256()
        with self._one_line():
            self._db.execute("BEGIN")  # the answers are those of one moment
            try:
                query = "SELECT coalesce(max(position), 0) FROM completions"
                (self._until,) = self._db.execute(query).fetchone()
                terms = [
                    number
                    for number, body in self._db.execute("SELECT id, body FROM terms")
                    if _may_ask(_ASKED.decode(body), identities, seed)
                ]
                query = (
                    "SELECT key, answer FROM completions WHERE failed <= ? "
                    "AND terms IN (SELECT value FROM json_each(?)) ORDER BY key"
                )
                for key, body in self._db.execute(query, (failures, _ENCODE(terms).decode())):
                    digest.update(key + hashlib.sha256(body).digest())
            finally:
                self._db.execute("COMMIT")
        return digest.hexdigest()

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep answers, over what is kept under the same keys; one transaction."""
        with self._writing() as db:
            rows = [
                (e.key, e.prompt, self._terms_of(db, e.asked), _failed(e.kept), e.kept.body)
                for e in entries
            ]
            db.executemany(
                "INSERT INTO completions (key, prompt, terms, failed, answer) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "position = (SELECT max(position) + 1 FROM completions), "
                "failed = excluded.failed, answer = excluded.answer",
                rows,
            )

    def asked_of(self, prompt: bytes) -> list[Asked]:
        """Return on what terms a prompt was asked, oldest first."""
        query = (
            "SELECT t.body FROM completions c JOIN terms t ON t.id = c.terms "
            "WHERE c.prompt = ? ORDER BY c.position"
        )
        with self._one_line():
            return [_ASKED.decode(body) for (body,) in self._db.execute(query, (prompt,))]

    def remember(self, served: Served, identity: ModelIdentity) -> None:
        """Note what answers now; it becomes the last of `identities`."""
        row = (*served, _ENCODE(identity).decode())
        with self._writing() as db:
            db.execute(
                "REPLACE INTO identities (kind, role, configured, identity) VALUES (?, ?, ?, ?)",
                row,
            )

    def identities(self, served: Served) -> list[ModelIdentity]:
        """Return what has answered, the last one last."""
        query = (
            "SELECT identity FROM identities "
            "WHERE kind = ? AND role = ? AND configured = ? ORDER BY position"
        )
        with self._one_line():
            return [_IDENTITY.decode(body) for (body,) in self._db.execute(query, served)]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _prepare(self) -> None:
        """Check the file before anything is written; make the tables of a new one."""
        version, application = self._stamps()
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables and not version and not application:
            self._db.execute("PRAGMA journal_mode = WAL")
            with self._writing() as db:
                if self._stamps() == (0, 0):  # another process may have been first
                    for statement in TABLES.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            version, application = self._stamps()
        if application != APPLICATION_ID:
            raise ConfigError(
                f"expected a cache of completions, was another database: {self.path}"
            )
        if version != SCHEMA_VERSION:
            raise ConfigError(
                f"expected a cache of version {SCHEMA_VERSION}, was {version}: {self.path}"
            )
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    def _stamps(self) -> tuple[int, int]:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        return int(version), int(self._db.execute("PRAGMA application_id").fetchone()[0])

    def _terms_of(self, db: sqlite3.Connection, asked: Asked) -> int:
        if asked not in self._terms:
            body = (_ENCODE(asked).decode(),)
            db.execute("INSERT INTO terms (body) VALUES (?) ON CONFLICT DO NOTHING", body)
            row = db.execute("SELECT id FROM terms WHERE body = ?", body).fetchone()
            self._terms[asked] = int(row[0])
        return self._terms[asked]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that takes the write lock at once."""
        with self._one_line():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._terms.clear()  # what was numbered in it is undone
                self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise ConfigError(f"expected a folder for {self.path}, was: {e.strerror}") from e
        except (sqlite3.Error, msgspec.DecodeError) as e:
            raise ConfigError(
                f"expected a cache of completions at {self.path}, was unusable: {one_line(e)}"
            ) from e


def _may_ask(asked: Asked, identities: Collection[ModelIdentity], seed: int) -> bool:
    """Tell whether minds on a seed ask this: they ask under a schema, the explainer does not."""
    return bool(asked.schema) and asked.seed == seed and asked.identity in identities


def _failed(kept: Kept) -> bool:
    return isinstance(kept.answer, Failure)
