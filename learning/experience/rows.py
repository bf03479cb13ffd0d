"""
Messages into rows and rows back into messages.

One function a message: it appends plain tuples, in the columns' order, to the lists of the tables
that the message fills. The JSON kept of a decision or verdict is msgspec's, whose field order is
the struct's: the same message gives the same bytes. It knows no database.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

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

type Row = tuple[Any, ...]
type Batch = defaultdict[str, list[Row]]

_ENCODER = msgspec.json.Encoder()
_DECISION = msgspec.json.Decoder(Decision)
_CASE = msgspec.json.Decoder(Case)
_RETURNS = msgspec.json.Decoder(SessionReturns)
_SHARES = msgspec.json.Decoder(dict[str, float])
_ZLIB_LEVEL = 1


class Experience(Message, frozen=True, kw_only=True):
    """
    A decision, what came of it, and its reward: what the learners read.

    `outcomes` are sorted by symbol; `reward` is the decision's own (learner "decision").
    """

    run_id: str
    decision: Decision
    outcomes: tuple[Outcome, ...]
    reward: float


def returns_rows(run_id: str, returns: SessionReturns, batch: Batch) -> None:
    """Append one session's returns."""
    body = _ENCODER.encode(returns).decode()
    batch["session_returns"].append((run_id, returns.ts_event, body))


def case_rows(run_id: str, case: Case, batch: Batch) -> None:
    """Append a case, compressed; its key is the SHA-256 of the JSON, as `Case.decision_id`."""
    body = _ENCODER.encode(case)
    batch["cases"].append(
        (
            run_id,
            hashlib.sha256(body).hexdigest()[:24],
            case.ts_event,
            case.trigger,
            case.horizon,
            case.macro.regime,
            zlib.compress(body, _ZLIB_LEVEL),
        )
    )


def decision_rows(run_id: str, d: Decision, batch: Batch) -> None:
    """Append a decision, whole, with its routes, opinions, abstentions and proposals."""
    key = d.decision_id
    a = d.allocation
    weights = a.weights.values()
    batch["decisions"].append(
        (
            run_id,
            key,
            d.ts_event,
            d.ts_init,
            d.expires,
            d.trigger,
            d.minds,
            a.regime,
            sum(o.tokens for o in d.opinions) + sum(o.tokens for o in d.abstentions),
            _ENCODER.encode(d).decode(),
        )
    )
    batch["routes"] += [(run_id, key, r.symbol, r.arm, r.propensity) for r in d.routes]
    batch["opinions"] += [
        (
            run_id,
            key,
            o.junior,
            o.symbol,
            o.opinion_id,
            o.score,
            o.confidence,
            None,
            o.model,
            o.prompt_revision,
            o.latency_ns,
            o.tokens,
        )
        for o in d.opinions
    ]
    batch["opinions"] += [
        (
            run_id,
            key,
            o.junior,
            o.symbol,
            None,
            None,
            None,
            o.reason,
            o.model,
            "",
            o.latency_ns,
            o.tokens,
        )
        for o in d.abstentions
    ]
    batch["proposals"] += [
        (run_id, key, p.symbol, p.action, p.conviction, p.horizon, len(p.cites))
        for p in d.proposals
    ]
    batch["allocations"].append(
        (
            run_id,
            key,
            a.regime,
            a.top_policy,
            a.bottom_policy,
            sum(w != 0.0 for w in weights),
            float(sum(map(abs, weights))),
            float(sum(weights)),
        )
    )


def verdict_rows(run_id: str, v: Verdict, batch: Batch) -> None:
    """Append a verdict, keyed by its content: the gate may speak twice of one decision."""
    body = _ENCODER.encode(v)
    batch["verdicts"].append(
        (
            run_id,
            v.decision_id,
            hashlib.sha256(body).hexdigest()[:24],
            v.ts_event,
            v.stage,
            len(v.lines),
            sum(line.limit != "" for line in v.lines),
            v.var_frac,
            body.decode(),
        )
    )


def order_rows(run_id: str, o: OrderRecord, batch: Batch) -> None:
    """Append an order."""
    batch["orders"].append(
        (
            run_id,
            o.decision_id,
            o.order_id,
            o.symbol,
            o.ts_decided,
            o.ts_held,
            o.ts_event,
            o.quantity,
            o.reason,
        )
    )


def fill_rows(run_id: str, f: FillRecord, batch: Batch) -> None:
    """Append a fill."""
    batch["fills"].append(
        (
            run_id,
            f.decision_id,
            f.fill_id,
            f.order_id,
            f.symbol,
            f.ts_event,
            f.ts_price,
            f.quantity,
            f.price,
            f.commission,
        )
    )


def outcome_rows(run_id: str, o: Outcome, batch: Batch) -> None:
    """Append an outcome."""
    batch["outcomes"].append(
        (
            run_id,
            o.decision_id,
            o.symbol,
            o.ts_event,
            o.ts_init,
            o.horizon,
            o.arm,
            o.conviction,
            o.instrument_return,
            o.realised,
            o.volatility,
            o.max_drawdown,
            o.benchmark_return,
            o.group_return,
            _ENCODER.encode(o.leave_one_out).decode(),
        )
    )


def reward_rows(run_id: str, r: Reward, batch: Batch) -> None:
    """Append a reward."""
    batch["rewards"].append(
        (run_id, r.decision_id, r.learner, r.symbol, r.ts_event, r.value, r.tokens)
    )


_APPEND: dict[type, Callable[[str, Any, Batch], None]] = {
    SessionReturns: returns_rows,
    Case: case_rows,
    Decision: decision_rows,
    Verdict: verdict_rows,
    OrderRecord: order_rows,
    FillRecord: fill_rows,
    Outcome: outcome_rows,
    Reward: reward_rows,
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
    return Outcome(
        decision_id=row[1],
        symbol=row[2],
        ts_event=row[3],
        ts_init=row[4],
        horizon=row[5],
        arm=row[6],
        conviction=row[7],
        instrument_return=row[8],
        realised=row[9],
        volatility=row[10],
        max_drawdown=row[11],
        benchmark_return=row[12],
        group_return=row[13],
        leave_one_out=_SHARES.decode(row[14]),
    )
