"""
The 22 instrument features and the 18 macro features, by one definition for trading and training.

`FeatureEngine` takes events and returns snapshots; `batch_features` replays a history through the
same engine. Each feature is defined in the docstring of the function of its name, in `indicators`,
`evidence` and `regime`; where that names no source, the feature is its own definition. A feature
that cannot be known is NaN here and None in messages. Intraday bars become sessions elsewhere; no
clock is read here.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from agents.features.evidence import EVIDENCE_FEATURES, MACRO_VALUE_FEATURES, SEASON_FEATURES
from agents.features.feature_engine import FeatureEngine
from agents.features.indicators import BREADTH_FEATURES, INDEX_FEATURES, PRICE_FEATURES
from agents.features.regime import regime_score
from agents.messages import (
    FundamentalsReport,
    Instrument,
    InstrumentState,
    MacroValue,
    NewsItem,
    Regime,
)
from config.errors import DataError

_INSTRUMENT = (*PRICE_FEATURES, *EVIDENCE_FEATURES)
_MACRO = (
    *INDEX_FEATURES,
    *MACRO_VALUE_FEATURES,
    *BREADTH_FEATURES,
    *SEASON_FEATURES,
    regime_score,
)
INSTRUMENT_FEATURES: tuple[str, ...] = tuple(f.__name__ for f in _INSTRUMENT)
MACRO_FEATURES: tuple[str, ...] = tuple(f.__name__ for f in _MACRO)


def known_features(state: InstrumentState) -> dict[str, float]:
    """Return an instrument's features that are not masked, by name."""
    named = zip(INSTRUMENT_FEATURES, state.features, strict=True)
    return {name: value for name, value in named if value is not None}


class CorporateAction(NamedTuple):
    """A row of `MarketData.actions`: `ts` is the opening of the ex-date's session."""

    symbol: str
    ts: int
    split: float = 1.0
    dividend: float = 0.0


@dataclass(frozen=True)
class BatchFeatures:
    """Features at each session's close; shapes: ts (T,), instrument (T, N, 22), macro (T, 18)."""

    ts: NDArray[np.int64]
    instrument: FloatArray
    macro: FloatArray
    regimes: tuple[Regime, ...]


def batch_features(
    instruments: Sequence[Instrument],
    ts_close: NDArray[np.int64],
    bars: FloatArray,
    *,
    price_basis: str,
    score: Callable[[str], float],
    actions: Iterable[CorporateAction] = (),
    news: Iterable[NewsItem] = (),
    fundamentals: Iterable[FundamentalsReport] = (),
    macro: Iterable[MacroValue] = (),
) -> BatchFeatures:
    """
    Return the features of a whole history, as the engine would have said them at each close.

    Shapes: ts_close (T,), bars (T, N, 5) of open, high, low, close, volume, NaN for no bar.
    Events may be in any order. Raises what the engine raises.
    """
    engine = FeatureEngine(instruments, price_basis=price_basis, score=score, panel_sessions=1)
    if bars.shape != (len(ts_close), len(engine.symbols), 5):
        expected = (len(ts_close), len(engine.symbols), 5)
        raise DataError(f"expected bars of shape {expected}, was {bars.shape}")
    for item in news:
        engine.on_news(item)
    for report in fundamentals:
        engine.on_fundamentals(report)
    for value in macro:
        engine.on_macro(value)
    pending = deque(sorted(actions, key=lambda a: (a.ts, a.symbol)))
    instrument = np.empty((len(ts_close), len(engine.symbols), len(INSTRUMENT_FEATURES)))
    macros = np.empty((len(ts_close), len(MACRO_FEATURES)))
    regimes: list[Regime] = []
    for t, ts in enumerate(ts_close.tolist()):
        while pending and pending[0].ts <= ts:
            action = pending.popleft()
            engine.on_action(action.symbol, action.split, action.dividend)
        engine.on_session(ts, *np.ascontiguousarray(bars[t].T))
        snapshot = engine.snapshot(ts)
        instrument[t], macros[t] = snapshot.instrument, snapshot.macro
        regimes.append(snapshot.regime)
    return BatchFeatures(ts_close, instrument, macros, tuple(regimes))
