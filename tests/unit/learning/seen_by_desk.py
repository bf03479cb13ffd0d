"""What the desk in the engine decides on, beside what trainers are given."""

import numpy as np

from agents.messages import Case
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData
from config.settings import LimitSettings, Settings
from ops.composition.model_minds import build_mind

SETTINGS = Settings(limits=LimitSettings(min_history=20))


def check_desk_sees(
    market: MarketData,
    start: int,
    *,
    ts: np.ndarray,
    features: np.ndarray,
    macro: np.ndarray,
    cases: int,
) -> None:
    """
    Run the desk from session `start` on, and hold each of its cases to the rows of its session.

    Shapes: ts (T,), features (T, N, 22), macro (T, 18); equal to the last bit, NaN where masked.
    """
    decide_from = market.session_closes[start]
    run = run_book(BookSpec("test", market, SETTINGS, decide_from), build_mind(SETTINGS))
    seen = run.records.of(Case)
    assert len(seen) == cases
    for case in seen:
        t = int(np.searchsorted(ts, case.ts_init))
        np.testing.assert_array_equal(macro[t], np.array(case.macro.features, dtype=macro.dtype))
        for row, state in zip(features[t], case.instruments, strict=True):
            np.testing.assert_array_equal(row, np.array(state.features, dtype=row.dtype))
