"""A dataset of two groups of two instruments: in each, one visibly rises and one falls."""

import numpy as np

from agents.features.batch import MACRO_FEATURES
from agents.messages import Instrument
from config.settings import UNLIMITED, Settings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split, Window
from learning.twin.market_arrays import make_market_arrays

SESSIONS = 170
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
GROUPS = ("first", "second")
GROUP = np.array([0, 0, 1, 1])
LOOSE = Settings(limits=UNLIMITED)  # all there is to learn is where to put the capital
PARTS = Split((Window(0, 65, 135),), (Window(0, 136, 168),), (), 0, 1)


def made_dataset(make_market, drifts=(0.006, -0.006, 0.006, -0.006), noise=0.004) -> Dataset:
    """Return the dataset; feature 0 is the sign of the drift, the others are noise."""
    rng = np.random.default_rng(0)
    prices = {}
    for symbol, drift in zip(SYMBOLS, drifts, strict=True):
        close = 50.0 * np.exp(np.cumsum(drift + noise * rng.standard_normal(SESSIONS)))
        opened = np.concatenate([[50.0], close[:-1]])
        ohlc = [opened, np.maximum(opened, close), np.minimum(opened, close), close]
        prices[symbol] = np.column_stack(ohlc)
    instruments = tuple(
        Instrument(symbol=s, venue="SIM", group=GROUPS[g], price_precision=4)
        for s, g in zip(SYMBOLS, GROUP.tolist(), strict=True)
    )
    market = make_market(sessions=SESSIONS, prices=prices, instruments=instruments, news_every=0)
    features = np.zeros((1, SESSIONS, 4, 22), dtype=np.float32)
    features[..., 0] = np.sign(drifts)
    features[..., 1:] = rng.standard_normal((1, SESSIONS, 4, 21))
    return bare_dataset(make_market_arrays([market], LOOSE), features, GROUP, GROUPS)


def bare_dataset(market_arrays, features, group, groups, **known) -> Dataset:
    """Return a dataset of arrays and features (M, T, N, 22); what is not `known` is all zeros."""
    none = np.zeros(market_arrays.ts_close.shape, dtype=np.int64)
    made = {
        "name": "multi-asset",
        "symbols": tuple(instrument.symbol for instrument in market_arrays.instruments),
        "groups": groups,
        "group": group,
        "shortable": np.zeros(len(group), dtype=np.bool_),
        "market_arrays": market_arrays,
        "ts": market_arrays.ts_close,
        "features": features.astype(np.float32),
        "macro": np.zeros((*none.shape, len(MACRO_FEATURES)), dtype=np.float32),
        "label": none,
        "estimate": none,
        "hidden": none,
        "returns": market_arrays.returns,
        "source": "made",
        "digest": "made",
    }
    return Dataset(**made | known)
