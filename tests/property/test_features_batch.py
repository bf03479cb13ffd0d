"""Batch and incremental features agree to the bit, and no feature knows the future."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.features.batch import CorporateAction, batch_features
from agents.features.feature_engine import FeatureEngine
from agents.messages import FundamentalsReport, Instrument, MacroValue, NewsItem

DAY = 86_400_000_000_000
START = 16_000 * DAY
SERIES = ("vix", "yield_short", "yield_long", "credit_spread", "commodity")


def score(text: str) -> float:
    return (len(text) % 9) / 2.0 - 2.0


@dataclass(frozen=True)
class History:
    instruments: tuple[Instrument, ...]
    ts: np.ndarray
    bars: np.ndarray
    actions: tuple[CorporateAction, ...]
    news: tuple[NewsItem, ...]
    reports: tuple[FundamentalsReport, ...]
    macro: tuple[MacroValue, ...]
    basis: str

    def batch(self):
        return batch_features(
            self.instruments,
            self.ts,
            self.bars,
            price_basis=self.basis,
            score=score,
            actions=self.actions,
            news=self.news,
            fundamentals=self.reports,
            macro=self.macro,
        )


@st.composite
def histories(draw):
    """Draw a market with holes, a late listing, splits, dividends and all kinds of news."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 4))
    sessions = draw(st.integers(2, 300))
    ts = START + DAY * np.arange(sessions)
    close = np.exp(4.0 + np.cumsum(rng.normal(0.0, 0.02, (sessions, n)), axis=0))
    open_ = close * np.exp(rng.normal(0.0, 0.01, (sessions, n)))
    high = np.maximum(open_, close) * 1.01
    low = np.minimum(open_, close) * 0.99
    volume = rng.integers(0, 1000, (sessions, n)).astype(float)
    bars = np.stack([open_, high, low, close, volume], axis=2)
    bars[rng.random((sessions, n)) < draw(st.sampled_from([0.0, 0.005, 0.2]))] = np.nan
    bars[: draw(st.integers(0, sessions)), draw(st.integers(0, n - 1))] = np.nan
    symbols = [f"S{i}" for i in range(n)]

    def when():
        return int(START + rng.integers(-5 * DAY, sessions * DAY))

    count = draw(st.integers(0, 12))
    actions = tuple(
        CorporateAction(
            symbols[rng.integers(n)],
            int(ts[rng.integers(sessions)]) - DAY // 4,
            split=float(rng.choice([1.0, 2.0, 7.0, 1 / 3])),
            dividend=float(rng.choice([0.0, 0.31])),
        )
        for _ in range(count)
    )
    news = []
    for k in range(3 * count):
        known = when()
        news.append(
            NewsItem(
                symbol=symbols[rng.integers(n)],
                ts_event=known,
                ts_init=known,
                source="wire",
                item_id=str(k),
                headline="x" * int(rng.integers(1, 20)),
            )
        )
    reports = []
    for _ in range(2 * count):
        known = when()
        names = ("revenue", "net_income", "equity", "shares", "eps")
        reports.append(
            FundamentalsReport(
                symbol=symbols[rng.integers(n)],
                ts_event=START - int(rng.integers(0, 9)) * 91 * DAY,
                ts_init=known,
                period=str(rng.choice(["quarter", "annual"])),
                figures={name: float(rng.normal(5.0, 4.0)) for name in names},
            )
        )
    macro = []
    for _ in range(5 * count):
        known = when()
        macro.append(
            MacroValue(
                series=str(rng.choice(SERIES)),
                ts_event=known - int(rng.integers(0, 10)) * DAY,
                ts_init=known,
                value=float(rng.normal(20.0, 15.0)),
            )
        )
    return History(
        instruments=tuple(
            Instrument(symbol=symbol, venue="X", group=f"G{i % 2}")
            for i, symbol in enumerate(symbols)
        ),
        ts=ts,
        bars=bars,
        actions=actions,
        news=tuple(news),
        reports=tuple(reports),
        macro=tuple(macro),
        basis=draw(st.sampled_from(["unadjusted", "unadjusted", "split_adjusted", "adjusted"])),
    )


def drive(history: History, ask_between: bool):
    """Tell an engine all events one by one, in the order in which they became known."""
    engine = FeatureEngine(history.instruments, price_basis=history.basis, score=score)
    events = [(a.ts, 0, a) for a in sorted(history.actions, key=lambda a: (a.ts, a.symbol))]
    events += [(x.ts_init, 1, x) for x in (*history.news, *history.reports, *history.macro)]
    events += [(int(ts), 2, t) for t, ts in enumerate(history.ts)]
    snapshots = []
    for ts, _, event in sorted(events, key=lambda e: e[:2]):
        match event:
            case CorporateAction():
                engine.on_action(event.symbol, event.split, event.dividend)
            case NewsItem():
                engine.on_news(event)
            case FundamentalsReport():
                engine.on_fundamentals(event)
            case MacroValue():
                engine.on_macro(event)
            case t:
                engine.on_session(ts, *(history.bars[t, :, k] for k in range(5)))
                snapshots.append(engine.snapshot(ts))
        if ask_between and ts >= START:
            engine.snapshot(ts)
    return snapshots


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(), st.booleans())
def test_batch_and_incremental_agree_to_the_bit(history, ask_between):
    batch = history.batch()
    snapshots = drive(history, ask_between)
    assert len(snapshots) == len(history.ts)
    instrument = np.stack([s.instrument for s in snapshots])
    assert instrument.tobytes() == batch.instrument.tobytes()
    assert np.stack([s.macro for s in snapshots]).tobytes() == batch.macro.tobytes()
    assert tuple(s.regime for s in snapshots) == batch.regimes


def poison(history: History, t: int, seed: int) -> History:
    """Return a history in which everything that becomes known after session t is another."""
    rng = np.random.default_rng(seed)
    now = int(history.ts[t])
    bars = history.bars.copy()
    bars[t + 1 :] = rng.uniform(1.0, 1e4, bars[t + 1 :].shape)

    def late(items):
        kept = [x for x in items if x.ts_init <= now]
        return kept, [x for x in items if x.ts_init > now]

    news, later_news = late(history.news)
    reports, later_reports = late(history.reports)
    macro, later_macro = late(history.macro)
    symbol = history.instruments[0].symbol

    def remake(item, **changes):
        fields = {name: getattr(item, name) for name in item.__struct_fields__}
        return type(item)(**{**fields, **changes})

    news += [remake(x, symbol=symbol, headline=x.headline + "!!!") for x in later_news]
    news.append(
        NewsItem(
            symbol=symbol,
            ts_event=now,
            ts_init=now + 1,
            source="wire",
            item_id="poison",
            headline="poison",
        )
    )
    reports += [remake(x, figures={"equity": 1.0, "revenue": 9.0}) for x in later_reports]
    reports.append(
        FundamentalsReport(
            symbol=symbol,
            ts_event=START,
            ts_init=now + 1,
            period="annual",
            figures={"eps": 1e3, "shares": 1.0, "equity": 1e6, "net_income": 5.0},
        )
    )
    macro += [remake(x, value=-1.0, ts_event=x.ts_event - 3 * DAY) for x in later_macro]
    macro += [MacroValue(series=name, ts_event=now, ts_init=now + 1, value=1e6) for name in SERIES]
    actions = [a for a in history.actions if a.ts <= now]
    actions += [CorporateAction(symbol, now + DAY // 2, split=9.0, dividend=3.0)]
    return replace(
        history,
        bars=bars,
        news=tuple(news),
        reports=tuple(reports),
        macro=tuple(macro),
        actions=tuple(actions),
    )


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(), st.floats(0.0, 1.0), st.integers(0, 99))
def test_changing_everything_after_t_leaves_snapshots_up_to_t_identical(history, where, seed):
    t = int(where * (len(history.ts) - 1))
    clean, poisoned = history.batch(), poison(history, t, seed).batch()
    assert clean.instrument[: t + 1].tobytes() == poisoned.instrument[: t + 1].tobytes()
    assert clean.macro[: t + 1].tobytes() == poisoned.macro[: t + 1].tobytes()
    assert clean.regimes[: t + 1] == poisoned.regimes[: t + 1]
