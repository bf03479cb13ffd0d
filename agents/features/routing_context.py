"""
Computes the sixteen numbers by which the supervisor chooses a route, from a case alone.

It knows no engine and no history beyond what the case carries; each number is scaled to about
0..1, and one that is masked in the case stands at its neutral value.
"""

import numpy as np

from agents.arrays import FloatArray
from agents.features.evidence import EVIDENCE_FEATURES
from agents.features.indicators import PRICE_FEATURES
from agents.features.ledgers import DAY_NS, NEWS_HALF_LIFE_NS
from agents.messages import JUNIORS, Case, Horizon, InstrumentState

CONTEXT_NAMES = (
    "regime_bull",
    "regime_bear",
    "regime_sideways",
    "volatility",
    "query_news",
    "query_technical",
    "query_fundamental",
    "query_mixed",
    "horizon",
    "news_freshness",
    "news_volume",
    "fundamentals_freshness",
    "trend_strength",
    "hit_rate_news",
    "hit_rate_technical",
    "hit_rate_fundamental",
)

FRESH_NEWS_NS = 3 * DAY_NS
FRESH_REPORT_NS = 7 * DAY_NS
REPORT_HALF_LIFE_NS = 90 * DAY_NS
TYPICAL_VOLATILITY = 0.25  # annualised; maps to 0.5
TYPICAL_TREND = 0.05  # of SMA20 over SMA60; maps to 0.5
MANY_ITEMS = 50
_HORIZONS: dict[Horizon, float] = {"short": 0.0, "medium": 0.5, "long": 1.0}
_YEAR_ROOT = 252**0.5
_PLACES = {f.__name__: i for i, f in enumerate((*PRICE_FEATURES, *EVIDENCE_FEATURES))}


def routing_context(case: Case) -> FloatArray:
    """
    Return what the supervisor sees of each instrument; shapes: (N, 16), as CONTEXT_NAMES.

    Regime and query type are one-hot. The query type is the kind of evidence that is fresh: a
    news item of 3 days, a report of 7, a price event (a move beyond two daily standard
    deviations, or a close outside the Bollinger bands); two kinds or more are mixed, none is
    technical. Volatility and trend strength are x / (x + typical); freshness halves every 3
    days (news) and 90 (reports), 0 without any; volume is log(1 + items) over log(51), at most
    1; horizon 0, 0.5, 1; hit rates are shrunk to 0.5, the value without a record.
    """
    news: dict[str, list[int]] = {}
    for item in case.news:
        news.setdefault(item.symbol, []).append(item.ts_init)
    reports: dict[str, int] = {}
    for report in case.fundamentals:
        reports[report.symbol] = max(report.ts_init, reports.get(report.symbol, 0))
    rates = {record.junior: record.hit_rate for record in case.track}
    regimes = [float(case.macro.regime == name) for name in ("bull", "bear", "sideways")]
    rows = []
    for state in case.instruments:
        stamps = news.get(state.symbol, [])
        news_age = case.ts_init - max(stamps) if stamps else None
        report_age = case.ts_init - reports[state.symbol] if state.symbol in reports else None
        rows.append(
            [
                *regimes,
                _share(_feature(state, "volatility_20"), TYPICAL_VOLATILITY, masked=0.5),
                *_query(state, news_age, report_age),
                _HORIZONS[case.horizon],
                _decayed(news_age, NEWS_HALF_LIFE_NS),
                min(float(np.log1p(len(stamps)) / np.log1p(MANY_ITEMS)), 1.0),
                _decayed(report_age, REPORT_HALF_LIFE_NS),
                _share(_feature(state, "trend"), TYPICAL_TREND, masked=0.0),
                *(rates.get(junior, 0.5) for junior in JUNIORS),
            ]
        )
    return np.array(rows, dtype=np.float64).reshape(-1, len(CONTEXT_NAMES))


def _feature(state: InstrumentState, name: str) -> float | None:
    return state.features[_PLACES[name]]


def _query(state: InstrumentState, news_age: int | None, report_age: int | None) -> list[float]:
    """Return the one-hot query type: news, technical, fundamental, mixed."""
    fresh_news = news_age is not None and news_age <= FRESH_NEWS_NS
    fresh_report = report_age is not None and report_age <= FRESH_REPORT_NS
    kinds = [fresh_news, _price_event(state), fresh_report]
    if sum(kinds) > 1:
        return [0.0, 0.0, 0.0, 1.0]
    if not any(kinds):
        return [0.0, 1.0, 0.0, 0.0]
    return [*map(float, kinds), 0.0]


def _price_event(state: InstrumentState) -> bool:
    move, volatility = _feature(state, "return_1"), _feature(state, "volatility_20")
    position = _feature(state, "bollinger_position")
    if position is not None and abs(position) > 1.0:
        return True
    if move is None or volatility is None:
        return False
    return abs(move) > 2.0 * volatility / _YEAR_ROOT


def _share(value: float | None, typical: float, *, masked: float) -> float:
    return masked if value is None else abs(value) / (abs(value) + typical)


def _decayed(age: int | None, half_life: int) -> float:
    return 0.0 if age is None else float(2.0 ** -(age / half_life))
