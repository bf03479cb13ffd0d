"""
A run's own returns as the library keeps them: one row, zlib over JSON, read back as a trial.
"""

import zlib
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, and_, func, or_, select

from backtest.statistics.trials import Trial
from learning.experience.models import run_returns, runs


class _Returns(msgspec.Struct, frozen=True):
    ts: list[int]
    excess: list[float]


def returns_row(run_id: str, earned: Trial) -> dict[str, Any]:
    """Return the row of a run's returns, of at least one session."""
    body = _Returns(earned.ts.tolist(), earned.excess.tolist())
    return {
        "run_id": run_id,
        "first_ns": int(earned.ts[0]),
        "last_ns": int(earned.ts[-1]),
        "body": zlib.compress(msgspec.json.encode(body)),
    }


def read_trials(
    connection: Connection, run_id: str, first_ns: int, last_ns: int
) -> tuple[Trial, ...]:
    """Return the trials of `Library.trials`, oldest first."""
    c, kept = runs.c, run_returns.c
    own = select(c.source_digest, c.data_digest).where(c.run_id == run_id)
    source, data = connection.execute(own).one_or_none() or (None, None)
    overlaps = and_(kept.first_ns <= last_ns, kept.last_ns >= first_ns)
    query = (
        select(c.run_id, c.sharpe, kept.body)
        .join(run_returns, kept.run_id == c.run_id, isouter=True)
        .where(
            c.run_id != run_id,
            c.sharpe.is_not(None),
            or_(
                and_(c.source_digest == source, overlaps),
                and_(c.source_digest.is_(None), c.data_digest == data),
            ),
        )
        .order_by(func.coalesce(c.created_at, 0), c.run_id)
    )
    return tuple(_trial(*row) for row in connection.execute(query))


def _trial(run_id: str, sharpe: float, body: bytes | None) -> Trial:
    """Return a run as a trial; from before returns were kept it has none."""
    kept = (
        _Returns([], [])
        if body is None
        else msgspec.json.decode(zlib.decompress(body), type=_Returns)
    )
    return Trial(run_id, sharpe, np.array(kept.ts, np.int64), np.array(kept.excess, np.float64))
