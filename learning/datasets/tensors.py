"""
A market's sessions as aligned arrays, and arrays as files.

Features come from `agents.features.batch.batch_features`, the same definition that the desk
computes event by event. Files are opened read-only as memory maps, so that several trainers share
one copy. It knows no learner and no labels that look ahead.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import agents
from agents.arrays import FloatArray
from agents.features.batch import INSTRUMENT_FEATURES, CorporateAction, batch_features
from agents.features.ledgers import MACRO_SERIES
from agents.messages import Regime
from backtest.market.market_data import MarketData
from config.files.whole import whole_folder

REGIMES: tuple[Regime, ...] = ("bull", "bear", "sideways")  # `Tensors.estimate` indexes it


@dataclass(frozen=True)
class Tensors:
    """
    A market's sessions, oldest first, aligned across instruments; NaN where masked.

    Shapes: ts (T,) closing stamps; bars (T, N, 5) open, high, low, close, volume as quoted;
    features (T, N, 22); macro (T, 18); returns (T, N) total simple returns of each session;
    estimate (T,) the causal regime estimate, an index of `REGIMES`.
    """

    ts: NDArray[np.int64]
    bars: FloatArray
    features: FloatArray
    macro: FloatArray
    returns: FloatArray
    estimate: NDArray[np.int64]


def session_bars(market: MarketData) -> FloatArray:
    """
    Return open, high, low, close, volume of each session; NaN where nothing traded.

    Shapes: (T, N, 5), sessions as in `market.session_closes`.
    """
    closes = np.asarray(market.session_closes, dtype=np.int64)
    table = market.bars.assign(session=np.searchsorted(closes, market.bars["ts_close"]))
    grouped = table.groupby(["session", "symbol"], sort=True)
    daily = grouped.agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
    )
    bars = np.full((len(closes), len(market.symbols), 5), np.nan)
    place = {symbol: i for i, symbol in enumerate(market.symbols)}
    rows = daily.index.get_level_values(0).to_numpy()
    columns = daily.index.get_level_values(1).map(place).to_numpy()
    bars[rows, columns] = daily.to_numpy()
    return bars


def compute_tensors(market: MarketData, *, score: Callable[[str], float]) -> Tensors:
    """Return a market's tensors; `score` turns a text into a sentiment, -2..2."""
    bars = session_bars(market)
    actions = zip(
        *(market.actions[c].tolist() for c in ("symbol", "ts", "split", "dividend")), strict=True
    )
    batch = batch_features(
        market.instruments,
        np.asarray(market.session_closes, dtype=np.int64),
        bars,
        price_basis=market.price_basis,
        score=score,
        actions=[CorporateAction(*row) for row in actions],
        news=market.news,
        fundamentals=market.fundamentals,
        macro=[value for value in market.macro if value.series in MACRO_SERIES],
    )
    return Tensors(
        ts=np.asarray(batch.ts),
        bars=bars,
        features=batch.instrument,
        macro=batch.macro,
        returns=np.expm1(batch.instrument[:, :, INSTRUMENT_FEATURES.index("return_1")]),
        estimate=np.array([REGIMES.index(name) for name in batch.regimes], dtype=np.int64),
    )


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """
    Write arrays into a new folder, whole or not at all.

    Several writers of one folder have the same content. Raises ConfigError where it cannot be
    written; nothing half-written is left.
    """
    with whole_folder(folder) as fresh:
        for name, values in arrays.items():
            np.save(fresh / f"{name}.npy", values)


def open_arrays(folder: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return arrays that `write_arrays` left, as read-only memory maps."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


def feature_code() -> str:
    """
    Return the hash of the code that makes features.

    Of `agents`, the vocabulary, the features and the juniors, whose lexicon scores texts: what
    the other folders hold knows features but does not make them.
    """
    root = Path(agents.__file__).parent
    made_by = [
        *root.glob("*.py"),
        *(root / "features").glob("*.py"),
        *(root / "juniors").glob("*.py"),
    ]
    h = hashlib.sha256()
    for path in sorted(made_by):
        h.update(path.read_bytes())
    return h.hexdigest()
