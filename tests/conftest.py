"""Markets small enough to reason about, and the packaged model, shared by all tests."""

import hashlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.llm.embedded import weights
from agents.messages import Instrument, NewsItem
from backtest.market.market_data import MarketData, canonical
from config.settings import EmbeddedSettings

DAY_NS = 86_400_000_000_000
OPENING_NS = 52_200_000_000_000  # 14:30 UTC
CLOSING_NS = 75_600_000_000_000  # 21:00 UTC
FIRST_DAY = 18_000  # days since 1970

# A worker of the suite has one core, and sums over several threads differ in their last bits.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

# The suite starts some hundred processes of ours; compiled files save each a second or two.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

type MarketMaker = Callable[..., MarketData]


def session(day: int) -> tuple[int, int]:
    """Return the opening and closing stamps of the n-th session."""
    start = (FIRST_DAY + day) * DAY_NS
    return start + OPENING_NS, start + CLOSING_NS


def _make_market(
    *,
    symbols: tuple[str, ...] = ("AAA", "BBB", "CCC", "DDD"),
    sessions: int = 90,
    seed: int = 1,
    prices: dict[str, np.ndarray] | None = None,
    actions: list[tuple[str, int, float, float]] | None = None,
    news_every: int = 3,
    macro: tuple = (),
    fundamentals: tuple = (),
    instruments: tuple[Instrument, ...] | None = None,
    basis: str = "unadjusted",
) -> MarketData:
    """
    Return a market of random walks; `prices` sets (sessions, 4) open-high-low-close of a symbol.

    `actions` are (symbol, session, split, dividend).
    """
    rng = np.random.default_rng(seed)
    if instruments is None:
        instruments = tuple(
            Instrument(symbol=s, venue="SIM", group=f"G{i % 2}") for i, s in enumerate(symbols)
        )
    stamps = np.array([session(day) for day in range(sessions)], dtype=np.int64)
    tables, news = [], []
    for i, instrument in enumerate(instruments):
        symbol = instrument.symbol
        steps = rng.normal(0.0005, 0.012, (sessions, 4))
        close = 50.0 * (i + 1) * np.exp(np.cumsum(steps[:, 0]))
        opened = np.concatenate([[close[0]], close[:-1]]) * np.exp(0.3 * steps[:, 1])
        ohlc = np.column_stack(
            [
                opened,
                np.maximum(opened, close) * (1 + 0.2 * np.abs(steps[:, 2])),
                np.minimum(opened, close) * (1 - 0.2 * np.abs(steps[:, 3])),
                close,
            ]
        )
        ohlc = (prices or {}).get(symbol, ohlc).round(instrument.price_precision)
        table = pd.DataFrame(ohlc, columns=["open", "high", "low", "close"])
        table["symbol"], table["ts_open"], table["ts_close"] = symbol, stamps[:, 0], stamps[:, 1]
        table["volume"] = 1e6 + rng.integers(0, 1000, sessions)
        tables.append(table)
        for day in range(i, sessions, news_every if news_every else sessions + 1):
            ts = int(stamps[day, 0]) + 3_600_000_000_000
            word = ("strong growth beats estimates", "weak sales, guidance cut")[day % 2]
            news.append(
                NewsItem(
                    symbol=symbol,
                    ts_event=ts,
                    ts_init=ts,
                    source="wire",
                    item_id=f"{symbol}-{day}",
                    headline=f"{symbol}: {word}",
                )
            )
    table = pd.DataFrame(
        [(s, session(day)[0], split, dividend) for s, day, split, dividend in actions or []],
        columns=["symbol", "ts", "split", "dividend"],
    )
    return canonical(
        MarketData(
            name="made",
            instruments=instruments,
            bars=pd.concat(tables),
            actions=table,
            session_closes=tuple(int(ts) for ts in stamps[:, 1]),
            step_ns=0,
            price_basis=basis,
            news=tuple(news) if news_every else (),
            macro=macro,
            fundamentals=fundamentals,
        )
    )


@pytest.fixture
def make_market() -> MarketMaker:
    """Return a maker of small markets."""
    return _make_market


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """
    Return the folder to give an EmbeddedBackend as its cache, with the packaged model unpacked.

    It outlives the run, because unpacking takes 10 s and 270 MB; it is another one when the code
    that unpacks changes. `model_folder` makes it atomically, for runs at one time.
    """
    source = Path(weights.__file__).read_bytes() + version("transformers").encode()
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    cache = home / "quarterdeck" / "tests" / hashlib.sha256(source).hexdigest()[:12]
    weights.model_folder(EmbeddedSettings(), cache)
    return cache
