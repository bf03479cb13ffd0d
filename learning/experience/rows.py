"""
Messages into rows and rows back into messages.

One function a message: it appends plain tuples, in the columns' order, to the lists of the tables
that the message fills. The JSON kept of a decision or verdict is msgspec's, whose field order is
the struct's: the same message gives the same bytes. It knows the tables and no database.
"""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Table

from agents.messages import (
    Case,
    Decision,
    FillRecord,
    Message,
    OrderRecord,
    Outcome,
    Reward,
    SessionReturns,
    Verdict,
)
from config.errors import DataError
from learning.experience import models as m

type Row = tuple[Any, ...]
type Batch = defaultdict[str, list[Row]]
type Append = Callable[[str, Any, Batch], None]

_ENCODER = msgspec.json.Encoder()
_DECISION = msgspec.json.Decoder(Decision)
_CASE = msgspec.json.Decoder(Case)
_RETURNS = msgspec.json.Decoder(SessionReturns)
_SHARES = msgspec.json.Decoder(dict[str, float])
_ZLIB_LEVEL = 1
_MADE_BY = attrgetter("model", "prompt_revision", "latency_ns", "tokens")


class Experience(Message, frozen=True, kw_only=True):
    """
    A decision, what came of it, and its reward: what the learners read.

    `outcomes` are sorted by symbol; `reward` is the decision's own (learner "decision").
    """

    run_id: str
    decision: Decision
    outcomes: tuple[Outcome, ...]
    reward: float


def _returns_rows(run_id: str, returns: SessionReturns, batch: Batch) -> None:
    body = _ENCODER.encode(returns).decode()
    batch["session_returns"].append((run_id, returns.ts_event, body))


def _case_rows(run_id: str, case: Case, batch: Batch) -> None:
    """Append a case, compressed; its key is the SHA-256 of the JSON, as `Case.decision_id`."""
    body = _ENCODER.encode(case)
    key, packed = hashlib.sha256(body).hexdigest()[:24], zlib.compress(body, _ZLIB_LEVEL)
    batch["cases"].append(
        (run_id, key, case.ts_event, case.trigger, case.horizon, case.macro.regime, packed)
    )


def _decision_rows(run_id: str, d: Decision, batch: Batch) -> None:
    """Append a decision, whole, with its routes, opinions, abstentions and proposals."""
    key = run_id, d.decision_id
    a = d.allocation
    weights = a.weights.values()
    tokens = sum(o.tokens for o in d.opinions) + sum(o.tokens for o in d.abstentions)
    body = _ENCODER.encode(d).decode()
    batch["decisions"].append(
        (*key, d.ts_event, d.ts_init, d.expires, d.trigger, d.minds, a.regime, tokens, body)
    )
    batch["routes"] += [(*key, r.symbol, r.arm, r.propensity) for r in d.routes]
    batch["opinions"] += [
        (*key, o.junior, o.symbol, o.opinion_id, o.score, o.confidence, None, *_MADE_BY(o))
        for o in d.opinions
    ]
    batch["opinions"] += [
        (*key, o.junior, o.symbol, None, None, None, o.reason, o.model, "", o.latency_ns, o.tokens)
        for o in d.abstentions
    ]
    batch["proposals"] += [
        (*key, p.symbol, p.action, p.conviction, p.horizon, len(p.cites)) for p in d.proposals
    ]
    positions = sum(w != 0.0 for w in weights)
    gross, net = float(sum(map(abs, weights))), float(sum(weights))
    batch["allocations"].append(
        (*key, a.regime, a.top_policy, a.bottom_policy, positions, gross, net)
    )


def _verdict_rows(run_id: str, v: Verdict, batch: Batch) -> None:
    """Append a verdict, keyed by its content: the gate may speak twice of one decision."""
    body = _ENCODER.encode(v)
    digest = hashlib.sha256(body).hexdigest()[:24]
    cut = sum(line.limit != "" for line in v.lines)
    said = (v.ts_event, v.stage, len(v.lines), cut, v.var_frac, body.decode())
    batch["verdicts"].append((run_id, v.decision_id, digest, *said))


def _rows_of(table: Table) -> Append:
    """Return what appends a message whose fields are the table's columns."""
    values = attrgetter(*table.c.keys()[1:])  # but `run_id`

    def append_row(run_id: str, message: object, batch: Batch) -> None:
        batch[table.name].append((run_id, *values(message)))

    return append_row


def _outcome_rows(run_id: str, o: Outcome, batch: Batch) -> None:
    *values, shares = msgspec.structs.astuple(o)
    batch["outcomes"].append((run_id, *values, _ENCODER.encode(shares).decode()))


_APPEND: dict[type, Append] = {
    SessionReturns: _returns_rows,
    Case: _case_rows,
    Decision: _decision_rows,
    Verdict: _verdict_rows,
    OrderRecord: _rows_of(m.orders),
    FillRecord: _rows_of(m.fills),
    Outcome: _outcome_rows,
    Reward: _rows_of(m.rewards),
}


def append(run_id: str, record: object, batch: Batch) -> None:
    """Append any record's rows; raises DataError when it is none that the library keeps."""
    fill = _APPEND.get(type(record))
    if fill is None:
        kinds = ", ".join(kind.__name__ for kind in _APPEND)
        raise DataError(f"expected a record ({kinds}), was {type(record).__name__}")
    fill(run_id, record, batch)


def row_count(record: object) -> int:
    """Return how many rows a record becomes."""
    if isinstance(record, Decision):
        parts = len(record.routes) + len(record.opinions) + len(record.abstentions)
        return 2 + parts + len(record.proposals)
    return 1


def read_decision(body: str | bytes) -> Decision:
    """Return the decision kept as this JSON."""
    return _DECISION.decode(body)


def read_returns(body: str | bytes) -> SessionReturns:
    """Return the session's returns kept as this JSON."""
    return _RETURNS.decode(body)


def unpack_body(body: bytes) -> bytes:
    """Return the JSON of a body from its compressed form, of a case or of a run's returns."""
    return zlib.decompress(body)


def read_case(body: bytes) -> Case:
    """Return the case kept in this compressed form."""
    return _CASE.decode(unpack_body(body))


def read_outcome(row: Row) -> Outcome:
    """Return the outcome of a row of `outcomes`."""
    *values, shares = row[1:]
    named = dict(zip(Outcome.__struct_fields__[:-1], values, strict=True))
    return Outcome(**named, leave_one_out=_SHARES.decode(shares))
