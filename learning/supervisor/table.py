"""
Collected routes as one Parquet file: a row a case, instrument and route.

The file's metadata say what was collected from what, so that a training can say how far its data
reach. It is written whole or not at all. It knows no desk and no learner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray
from agents.messages import JUNIORS, ROUTES
from agents.supervisor.offline import Trajectories
from agents.supervisor.routing import CONTEXT_SIZE
from config.errors import DataError
from config.files.whole import whole_file

ARMS = len(ROUTES)
META = b"quarterdeck.routes"


class RouteRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    One route of one instrument of one case, and what it came to.

    `ts` is the case's stamp and `ts_closed` its outcome's; `reward` is None for a route that
    could not be taken, because it asks a junior without evidence; `propensity` is that of drawing
    among the routes that could be. `hit` says, for a route of one junior, whether its opinion had
    the sign of the instrument's return, None without a call.
    """

    decision_id: str
    symbol: str
    ts: int
    ts_closed: int
    context: tuple[float, ...]
    arm: int
    reward: float | None
    conviction: float
    tokens: int
    seconds: float
    propensity: float
    hit: bool | None


SCHEMA = pa.schema(
    [
        ("decision_id", pa.string()),
        ("symbol", pa.string()),
        ("ts", pa.int64()),
        ("ts_closed", pa.int64()),
        ("context", pa.list_(pa.float64(), CONTEXT_SIZE)),
        ("arm", pa.int8()),
        ("reward", pa.float64()),
        ("conviction", pa.float64()),
        ("tokens", pa.int64()),
        ("seconds", pa.float64()),
        ("propensity", pa.float64()),
        ("hit", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class RouteTable:
    """
    Cases with every route's reward, oldest first.

    Shapes: contexts (M, 16); rewards, tokens, seconds (M, 7), rewards NaN where a route could not
    be taken; hits (M, 3), 1 hit, 0 miss, NaN no call; ts, ts_closed (M,). `meta` is what was
    collected from what.
    """

    contexts: FloatArray
    rewards: FloatArray
    tokens: FloatArray
    seconds: FloatArray
    hits: FloatArray
    ts: NDArray[np.int64]
    ts_closed: NDArray[np.int64]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, which: NDArray[np.bool_]) -> Self:
        """Return some of the cases; shapes: which (M,)."""
        names = [f.name for f in fields(self) if f.name != "meta"]
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def trajectories(self) -> Trajectories:
        """Return a trajectory a case and route that could be taken: all were run, all count."""
        cases, arms = np.nonzero(np.isfinite(self.rewards))
        return Trajectories(
            contexts=self.contexts[cases],
            actions=arms.astype(np.int64),
            rewards=self.rewards[cases, arms],
            propensities=np.ones(len(arms)),
        )

    @property
    def evidence(self) -> BoolArray:
        """Which juniors had evidence: their lone routes could be taken; shapes: (M, 3)."""
        return np.isfinite(self.rewards[:, [ROUTES.index((name,)) for name in JUNIORS]])


def write_routes(path: Path, rows: Sequence[RouteRow], meta: Mapping[str, Any]) -> None:
    """Write rows to one file, whole or not at all."""
    columns = [pa.array([getattr(r, f.name) for r in rows], type=f.type) for f in SCHEMA]
    schema = SCHEMA.with_metadata({META: msgspec.json.encode(dict(meta))})
    with whole_file(path) as file:
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), file)


def read_meta(path: Path) -> dict[str, Any] | None:
    """Return what a file was collected from, or None where there is no such file."""
    if not path.exists():
        return None
    try:
        meta: dict[str, Any] = msgspec.json.decode(pq.read_schema(path).metadata[META])
    except (OSError, pa.ArrowException, KeyError, TypeError, msgspec.DecodeError) as e:
        raise DataError(f"expected collected routes in {path}, was another file") from e
    return meta


def read_routes(path: Path) -> RouteTable:
    """
    Return the cases of a file.

    Raises DataError if it is missing, was not written by `write_routes`, or lacks a route.
    """
    meta = read_meta(path)
    if meta is None:
        raise DataError(f"expected collected routes at {path}, was no file")
    table = pq.read_table(path, schema=SCHEMA).to_pydict()
    keys = list(zip(table["decision_id"], table["symbol"], strict=True))
    arms = np.array(table["arm"], dtype=np.int64).reshape(-1)
    if len(arms) == 0 or len(arms) % ARMS or (arms.reshape(-1, ARMS) != np.arange(ARMS)).any():
        raise DataError(
            f"expected the {ARMS} routes of every case in {path}, was {len(arms)} rows"
        )
    if any(keys[i] != keys[i - i % ARMS] for i in range(len(keys))):
        raise DataError(f"expected the routes of a case side by side in {path}, was another order")

    def wide(name: str) -> FloatArray:
        return np.array(table[name], dtype=np.float64).reshape(-1, ARMS)

    found = RouteTable(
        np.array(table["context"][::ARMS], dtype=np.float64),
        wide("reward"),
        wide("tokens"),
        wide("seconds"),
        wide("hit")[:, :3],
        np.array(table["ts"][::ARMS], dtype=np.int64),
        np.array(table["ts_closed"][::ARMS], dtype=np.int64),
        meta,
    )
    finite = np.isfinite(found.contexts).all() and not np.isinf(found.rewards).any()
    if not finite or not found.evidence.any(axis=1).all():
        raise DataError(f"expected finite contexts and rewards in {path}, was NaN or infinite")
    return found
