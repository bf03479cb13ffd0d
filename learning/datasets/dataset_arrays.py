"""
The arrays of a dataset: made market by market, kept under the hash of all they are made of.

Opened as read-only memory maps, so that trainers in several processes share one copy and a second
call costs nothing. The cache may be deleted at any time. It knows no split and no learner.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import backtest.market.rules
import backtest.simulator
import learning.datasets.markets
import learning.datasets.tensors
import learning.twin.market_arrays
import learning.twin.risk_arrays
import learning.twin.venue
from agents.arrays import FloatArray, IntArray
from agents.features.regime import DRIFT_SESSIONS, regime_label
from agents.juniors.lexicon import sentiment
from agents.messages import Instrument
from backtest.market.market_data import MarketData
from config.errors import DataError
from config.files.paths import data_home
from config.settings import Settings
from config.simulator import REGIMES
from learning.datasets.tensors import compute_tensors, feature_code, open_arrays, write_arrays
from learning.twin.market_arrays import MarketArrays, make_market_arrays
from learning.twin.risk_arrays import RiskArrays

type MakeMarket = Callable[[int], tuple[MarketData, IntArray]]
type Progress = Callable[[int, int], None]

LAYOUT = 2
OWN = ("ts", "features", "macro", "label", "estimate", "hidden")
MAKERS = (
    backtest.market.rules,
    learning.datasets.markets,
    learning.twin.risk_arrays,
    learning.twin.market_arrays,
    learning.twin.venue,
    learning.datasets.tensors,
)
_FROM_LABEL = np.array([REGIMES.index(name) for name in ("bear", "sideways", "bull")])


class _Facts(msgspec.Struct, frozen=True):
    """What the cache holds beside arrays."""

    instruments: tuple[Instrument, ...]
    rate_sources: tuple[tuple[int, bool] | None, ...]
    window: int
    sessions_per_year: int


def dataset_arrays(
    identity: list[Any],
    count: int,
    make: MakeMarket,
    settings: Settings,
    progress: Progress | None,
    cache: Path | None,
) -> tuple[str, dict[str, NDArray[Any]], MarketArrays]:
    """
    Return a dataset's digest, its arrays by the names in `OWN`, and its market arrays.

    `identity` says which markets `make` makes; `make(k)` returns the k-th of `count` and its
    hidden regimes (T,). Raises DataError where the markets' instruments differ.
    """
    digest = _digest(identity, settings)
    folder = (cache or data_home() / "books") / digest[:24]
    of_market_arrays = [f"market_{name}" for name in _array_names(MarketArrays)]
    of_risk = [f"risk_{name}" for name in _array_names(RiskArrays)]
    if not folder.is_dir():
        write_arrays(folder, _make(count, make, settings, progress))
    opened = open_arrays(folder, (*OWN, *of_market_arrays, *of_risk, "facts"))
    # plain arrays over the maps: indexing a memmap pays for its subclass every time
    arrays = {name: np.asarray(values) for name, values in opened.items()}
    facts = msgspec.json.decode(arrays["facts"].tobytes(), type=_Facts)
    market_arrays = MarketArrays(
        **{name.removeprefix("market_"): arrays[name] for name in of_market_arrays},
        instruments=facts.instruments,
        rate_sources=facts.rate_sources,
        sessions_per_year=facts.sessions_per_year,
        risk=RiskArrays(
            **{name.removeprefix("risk_"): arrays[name] for name in of_risk}, window=facts.window
        ),
    )
    return digest, {name: arrays[name] for name in OWN}, market_arrays


def _make(
    count: int, make: MakeMarket, settings: Settings, progress: Progress | None
) -> dict[str, NDArray[Any]]:
    rows: list[dict[str, NDArray[Any]]] = []
    markets: list[MarketData] = []
    for k in range(count):
        market, hidden = make(k)
        if markets and market.symbols != markets[0].symbols:
            raise DataError(
                f"expected markets of one set of instruments, was {', '.join(market.symbols)} "
                f"beside {', '.join(markets[0].symbols)}"
            )
        made = compute_tensors(market, score=sentiment)
        rows.append(
            {
                "ts": made.ts,
                "features": made.features.astype(np.float32),
                "macro": made.macro.astype(np.float32),
                "label": _labels(made.returns),
                "estimate": made.estimate,
                "hidden": hidden,
            }
        )
        markets.append(replace(market, news=(), fundamentals=()))  # market arrays have neither
        if progress:
            progress(k + 1, count)
    market_arrays = make_market_arrays(markets, settings)
    facts = _Facts(
        market_arrays.instruments,
        market_arrays.rate_sources,
        market_arrays.risk.window,
        market_arrays.sessions_per_year,
    )
    return {
        **{name: np.stack([row[name] for row in rows]) for name in OWN},
        **{f"market_{name}": getattr(market_arrays, name) for name in _array_names(MarketArrays)},
        **{f"risk_{name}": getattr(market_arrays.risk, name) for name in _array_names(RiskArrays)},
        "facts": np.frombuffer(msgspec.json.encode(facts), dtype=np.uint8),
    }


def _labels(returns: FloatArray) -> IntArray:
    """Return the regime with hindsight of the equal-weight index; shapes: (T, N) -> (T,)."""
    known = np.isfinite(returns)
    index = np.where(known, returns, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    labels = _FROM_LABEL[regime_label(np.cumprod(1.0 + index)) + 1]
    half = DRIFT_SESSIONS // 2
    labels[:half] = labels[-half:] = -1
    return labels.astype(np.int64)


def _array_names(kind: type) -> list[str]:
    """Return the fields of a kind that are arrays: all but what `_Facts` and `risk` hold."""
    return [f.name for f in fields(kind) if f.name not in (*_Facts.__struct_fields__, "risk")]


def _digest(identity: list[Any], settings: Settings) -> str:
    """Return the hash of the markets, the rules they are traded by and the code of both."""
    rules = [settings.market, settings.limits, settings.desk]
    parts = [LAYOUT, identity, rules, feature_code(), _code()]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _code() -> str:
    """Return the hash of the code that makes a dataset's arrays, beside its features."""
    simulator = Path(str(backtest.simulator.__file__)).parent.glob("*.py")
    makers = [Path(str(m.__file__)) for m in MAKERS]
    h = hashlib.sha256()
    for path in [*sorted(simulator), *makers, Path(__file__)]:
        h.update(path.read_bytes())
    return h.hexdigest()
