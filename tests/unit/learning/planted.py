"""A small made market whose regimes set its volatility and are told by one macro feature."""

import numpy as np

from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split, Window

GROUPS = ("Energy", "Financials", "Utilities")
EACH = 2
MARKETS, SESSIONS, WARM_UP = 4, 400, 130
VOLATILITY = np.array([0.006, 0.03, 0.012])  # of bull, bear, sideways
SECTOR = np.array([1.6, 1.0, 0.6])


def planted_dataset() -> Dataset:
    """Return four markets of six stocks in three sectors; regimes last 60 sessions."""
    rng = np.random.default_rng(0)
    stocks = EACH * len(GROUPS)
    group = np.repeat(np.arange(len(GROUPS)), EACH)
    label = np.repeat(rng.integers(0, 3, (MARKETS, SESSIONS // 60 + 1)), 60, axis=1)
    label = np.ascontiguousarray(label[:, :SESSIONS])
    shape = (MARKETS, SESSIONS, stocks)
    common = rng.standard_normal((MARKETS, SESSIONS, 1))
    shocks = 0.7 * common + 0.7 * rng.standard_normal(shape)
    returns = VOLATILITY[label][..., None] * SECTOR[group] * shocks
    returns[:, 0] = np.nan
    features = rng.standard_normal((*shape, len(INSTRUMENT_FEATURES)))
    features[..., INSTRUMENT_FEATURES.index("volatility_20")] = SECTOR[group]
    macro = rng.standard_normal((MARKETS, SESSIONS, len(MACRO_FEATURES)))
    for regime, name in enumerate(("vix", "credit_spread")):
        macro[..., MACRO_FEATURES.index(name)] = 3.0 * (label == regime)
    label = np.asarray(label, dtype=np.int64)
    known = label.copy()
    known[:, :30] = known[:, -30:] = -1
    return Dataset(
        name="equity",
        symbols=tuple(f"S{i}" for i in range(stocks)),
        groups=GROUPS,
        group=group,
        shortable=np.zeros(stocks, dtype=np.bool_),
        market_arrays=None,
        ts=np.tile(np.arange(1, SESSIONS + 1) * 86_400_000_000_000, (MARKETS, 1)),
        features=features.astype(np.float32),
        macro=macro.astype(np.float32),
        label=known,
        estimate=np.full_like(label, 2),
        hidden=np.full_like(label, -1),
        returns=returns,
        source="planted",
        digest="planted",
    )


def planted_split() -> Split:
    """Return two markets that train, one that validates and one that tests."""
    windows = [Window(m, WARM_UP, SESSIONS - 1) for m in range(MARKETS)]
    return Split((windows[0], windows[1]), (windows[2],), (windows[3],), 1, 2)
