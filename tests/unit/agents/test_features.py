"""The features mean what their definitions say, and say nothing where they cannot know."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.features import evidence, indicators, regime
from agents.features.batch import (
    INSTRUMENT_FEATURES,
    MACRO_FEATURES,
    CorporateAction,
    batch_features,
)
from agents.features.feature_engine import FeatureEngine
from agents.features.ledgers import FIGURES, MACRO_SERIES, TONE_PRIOR
from agents.features.routing_context import CONTEXT_NAMES, routing_context
from agents.messages import (
    Case,
    FundamentalsReport,
    Instrument,
    MacroValue,
    NewsItem,
    Portfolio,
    TrackRecord,
)
from config.errors import ConfigError, DataError

DAY = 86_400_000_000_000
START = 16_000 * DAY
DOC = Path(__file__).parents[3] / "docs" / "features.md"


def instruments(n, group=lambda i: f"G{i % 2}"):
    return [Instrument(symbol=f"S{i}", venue="X", group=group(i)) for i in range(n)]


def engine(n=2, basis="unadjusted", score=lambda text: 1.0, **kwargs):
    return FeatureEngine(instruments(n, **kwargs), price_basis=basis, score=score)


def market(seed, sessions, n):
    """Return bars (T, N, 5) of a random walk, without holes."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.015, (sessions, n)), axis=0))
    open_ = close * np.exp(rng.normal(0.0, 0.005, (sessions, n)))
    high = np.maximum(open_, close) * (1.0 + rng.uniform(0.0, 0.01, (sessions, n)))
    low = np.minimum(open_, close) * (1.0 - rng.uniform(0.0, 0.01, (sessions, n)))
    volume = rng.uniform(1e5, 1e6, (sessions, n))
    return np.stack([open_, high, low, close, volume], axis=2)


def feed(features, bars, first=0):
    for t, rows in enumerate(bars, start=first):
        features.on_session(START + t * DAY, *np.ascontiguousarray(rows.T))
    return START + (first + len(bars) - 1) * DAY


def column(snapshot, name):
    return snapshot.instrument[:, INSTRUMENT_FEATURES.index(name)]


def macro(snapshot, name):
    return snapshot.macro[MACRO_FEATURES.index(name)]


def report(ts_event, ts_init, period="annual", symbol="S0", **figures):
    return FundamentalsReport(
        symbol=symbol, ts_event=ts_event, ts_init=ts_init, period=period, figures=figures
    )


def news(ts, symbol="S0", item_id="1", headline="up"):
    return NewsItem(
        symbol=symbol, ts_event=ts, ts_init=ts, source="wire", item_id=item_id, headline=headline
    )


def test_there_are_22_instrument_18_macro_and_16_context_names():
    assert INSTRUMENT_FEATURES[:4] == ("return_1", "return_5", "return_20", "return_60")
    assert INSTRUMENT_FEATURES[-6:-2] == (
        "sentiment",
        "news_intensity",
        "earnings_yield",
        "book_yield",
    )
    assert MACRO_FEATURES[0] == "index_return_1"
    assert MACRO_FEATURES[-1] == "regime_score"
    for names, count in ((INSTRUMENT_FEATURES, 22), (MACRO_FEATURES, 18), (CONTEXT_NAMES, 16)):
        assert len(names) == len(set(names)) == count
    assert len(FIGURES) == 9
    assert len(MACRO_SERIES) == 6


def definition(name):
    """Return a feature's definition and source, from the docstring of its function."""
    modules = (indicators, evidence, regime)
    function = next(getattr(module, name) for module in modules if hasattr(module, name))
    what, _, source = inspect.getdoc(function).partition("\n\nSource: ")
    return " ".join(what.split()), " ".join(source.split()) or "definition."


def test_every_feature_has_a_definition_and_a_source_and_the_document_holds_them():
    table = {name: definition(name) for name in INSTRUMENT_FEATURES + MACRO_FEATURES}
    assert all(what for what, _ in table.values())
    rows = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    assert rows == [f"| `{name}` | {what} | {src} |" for name, (what, src) in table.items()]


def reference(bars, dividends, groups):
    """Return the price features of the newest session straight from their definitions."""
    open_, high, low, close, volume = (pd.DataFrame(bars[:, :, k]) for k in range(5))
    simple = (close + dividends) / close.shift(1) - 1.0
    log = np.log1p(simple)
    moves = close.diff()
    true_range = np.maximum(high, close.shift(1)) - np.minimum(low, close.shift(1))

    def ema(series, span):
        weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(3 * span - 1, -1, -1)
        return series.rolling(3 * span).apply(lambda x: np.average(x, weights=weights), raw=True)

    line = close.apply(lambda s: ema(s, 12) - ema(s, 26))
    histogram = line - line.apply(lambda s: ema(s, 9))
    sma20, sma60 = close.rolling(20).mean(), close.rolling(60).mean()
    index = simple.mean(axis=1, skipna=True)
    r20 = log.rolling(20, min_periods=20).sum().iloc[-1]
    relative = [
        r20[i] - r20[[j for j in r20.index if j != i and groups[j] == groups[i]]].mean()
        for i in r20.index
    ]
    last60, market60 = simple.iloc[-60:], index.iloc[-60:]
    whole = last60.columns[last60.notna().all()]
    beta = pd.Series(np.nan, index=close.columns)
    for i in whole:
        beta[i] = np.cov(last60[i], market60)[0, 1] / np.var(market60, ddof=1)
    pairs = np.corrcoef(last60[whole].to_numpy().T)
    instrument = {
        "return_1": log.iloc[-1],
        "return_5": log.rolling(5).sum().iloc[-1],
        "return_20": r20,
        "return_60": log.rolling(60).sum().iloc[-1],
        "volatility_20": log.rolling(20).std().iloc[-1] * np.sqrt(252),
        "volatility_ratio": (log.rolling(5).std() / log.rolling(60).std()).iloc[-1],
        "rsi_14": (moves.clip(lower=0.0).rolling(14).sum() / moves.abs().rolling(14).sum()).iloc[
            -1
        ],
        "macd": (histogram / close).iloc[-1],
        "bollinger_position": ((close - sma20) / (2 * close.rolling(20).std(ddof=0))).iloc[-1],
        "atr_14": (true_range.rolling(14).mean() / close).iloc[-1],
        "volume_ratio": (volume / volume.shift(1).rolling(20).mean()).iloc[-1],
        "trend": (sma20 / sma60 - 1.0).iloc[-1],
        "drawdown": (close / close.rolling(252, min_periods=60).max() - 1.0).iloc[-1],
        "gap": (open_ / close.shift(1) - 1.0).iloc[-1],
        "relative_strength": pd.Series(relative),
        "beta_60": beta,
    }
    level = (1.0 + index.fillna(0.0)).cumprod()
    l20, l60 = level.iloc[-20:].mean(), level.iloc[-60:].mean()
    index_log = np.log1p(index)
    return instrument, {
        "index_return_1": index_log.iloc[-1],
        "index_return_20": index_log.iloc[-20:].sum(),
        "index_trend": l20 / l60 - 1.0,
        "index_volatility": index_log.iloc[-20:].std() * np.sqrt(252),
        "index_drawdown": level.iloc[-1] / level.iloc[-252:].max() - 1.0,
        "breadth": (close.iloc[-1] > sma60.iloc[-1]).sum() / sma60.iloc[-1].notna().sum(),
        "correlation": pairs[np.triu_indices(len(whole), 1)].mean(),
        "dispersion": r20.std(),
    }


@pytest.mark.parametrize("hole", [None, 3, 15, 40, 130, 200])
def test_price_features_equal_their_textbook_definitions(hole):
    bars = market(7, 300, 5)
    dividends = np.zeros((300, 5))
    dividends[280, 1], dividends[295, 4] = 0.7, 0.2
    bars[:230, 2] = np.nan  # listed late
    if hole is not None:
        bars[299 - hole, 0] = np.nan
    features = engine(5)
    quoted = bars.copy()
    quoted[:290, 3, :4] *= 4.0  # before a 4:1 split, as quoted then
    quoted[:290, 3, 4] /= 4.0
    for t in range(300):
        if t == 290:
            features.on_action("S3", 4.0, 0.0)
        for i in np.flatnonzero(dividends[t]):
            features.on_action(f"S{i}", 1.0, float(dividends[t, i]))
        feed(features, quoted[t : t + 1], first=t)
    snapshot = features.snapshot(START + 299 * DAY)
    expected, expected_macro = reference(bars, dividends, [i % 2 for i in range(5)])
    for name, values in expected.items():
        np.testing.assert_allclose(
            column(snapshot, name), values.to_numpy(), rtol=1e-9, atol=1e-12, err_msg=name
        )
    for name, value in expected_macro.items():
        np.testing.assert_allclose(macro(snapshot, name), value, rtol=1e-9, err_msg=name)
    if hole is not None:
        assert np.isnan(column(snapshot, "return_5")[0]) == (hole < 6)
        assert not np.isnan(column(snapshot, "drawdown")[0])


def test_a_restart_on_the_last_260_sessions_says_the_same():
    bars = market(3, 500, 4)
    whole, restarted = engine(4), engine(4)
    ts = feed(whole, bars)
    feed(restarted, bars[-260:], first=240)
    a, b = whole.snapshot(ts), restarted.snapshot(ts)
    np.testing.assert_allclose(a.instrument, b.instrument, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(a.macro, b.macro, rtol=1e-9, atol=1e-13)
    assert a.regime == b.regime


def test_a_split_leaves_returns_alone_and_a_dividend_enters_them():
    bars = np.full((2, 2, 5), 100.0)
    bars[1, 0, :4] = 50.0
    bars[1, 1, :4] = 99.0
    features = engine()
    feed(features, bars[:1])
    features.on_action("S0", 2.0, 0.0)
    features.on_action("S1", 1.0, 1.0)
    snapshot = features.snapshot(feed(features, bars[1:], first=1))
    np.testing.assert_allclose(column(snapshot, "return_1"), [0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(column(snapshot, "gap"), [0.0, -0.01], atol=1e-15)
    np.testing.assert_array_equal(snapshot.price, [50.0, 99.0])


def test_a_split_and_a_dividend_on_one_day_are_both_per_old_share():
    bars = np.full((2, 1, 5), 100.0)
    bars[1, :, :4] = 49.0
    features = engine(1)
    feed(features, bars[:1])
    features.on_action("S0", 2.0, 2.0)
    snapshot = features.snapshot(feed(features, bars[1:], first=1))
    np.testing.assert_allclose(column(snapshot, "return_1"), [0.0], atol=1e-15)


@pytest.mark.parametrize(("basis", "expected"), [("split_adjusted", 0.05), ("adjusted", 0.0)])
def test_what_adjusted_prices_already_hold_is_not_counted_twice(basis, expected):
    features = engine(1, basis=basis)
    feed(features, np.full((1, 1, 5), 100.0))
    features.on_action("S0", 2.0, 5.0)
    features.on_fundamentals(report(START, START, net_income=10.0, equity=50.0, shares=1.0))
    snapshot = features.snapshot(feed(features, np.full((1, 1, 5), 100.0), first=1))
    np.testing.assert_allclose(column(snapshot, "return_1"), [np.log1p(expected)], atol=1e-15)
    assert np.isnan(column(snapshot, "earnings_yield")[0])
    assert np.isnan(column(snapshot, "book_yield")[0])
    assert column(snapshot, "profitability")[0] == 0.2


def test_nothing_is_carried_over_a_halt():
    bars = market(1, 80, 3)
    bars[-3:, 0] = np.nan
    features = engine(3)
    ts = feed(features, bars)
    snapshot = features.snapshot(ts)
    prices = [INSTRUMENT_FEATURES.index(n) for n in INSTRUMENT_FEATURES[:16]]
    assert np.isnan(snapshot.instrument[0, prices]).all()
    assert snapshot.last_ts[0] == ts - 3 * DAY
    assert snapshot.price[0] == bars[-4, 0, 3]
    assert snapshot.sessions.tolist() == [77, 80, 80]
    assert np.isfinite(macro(snapshot, "index_return_1"))


def test_constant_prices_have_a_neutral_rsi_and_sit_inside_their_bands():
    features = engine(2)
    snapshot = features.snapshot(feed(features, np.full((120, 2, 5), 31.7)))
    assert column(snapshot, "rsi_14").tolist() == [0.5, 0.5]
    assert column(snapshot, "bollinger_position").tolist() == [0.0, 0.0]
    np.testing.assert_allclose(column(snapshot, "macd"), 0.0, atol=1e-15)
    assert np.isnan(column(snapshot, "beta_60")).all()
    assert np.isnan(macro(snapshot, "correlation"))


def test_an_instrument_alone_in_its_group_has_no_relative_strength():
    features = engine(3, group=lambda i: "A" if i else "B")
    values = column(features.snapshot(feed(features, market(2, 30, 3))), "relative_strength")
    assert np.isnan(values[0])
    np.testing.assert_allclose(values[1], -values[2])


def test_news_weighs_half_after_three_days_and_is_forgotten_after_thirty():
    scores = {"up": 2.0, "down": -1.0}
    features = engine(2, score=scores.__getitem__)
    assert np.isnan(column(features.snapshot(START), "news_intensity")).all()
    features.on_news(news(START))
    features.on_news(news(START + 3 * DAY, item_id="2", headline="down"))
    snapshot = features.snapshot(START + 3 * DAY)
    np.testing.assert_allclose(column(snapshot, "sentiment"), [(2.0 * 0.5 - 1.0) / 1.5, np.nan])
    np.testing.assert_allclose(column(snapshot, "news_intensity"), [np.log(2.5), 0.0])
    late = features.snapshot(START + 36 * DAY)
    assert np.isnan(column(late, "sentiment")).all()


def test_news_told_ahead_of_time_counts_from_when_it_is_known_and_in_any_order():
    items = [news(START + k * DAY // 2, item_id=str(k)) for k in range(1, 9)]
    ahead, asked = engine(1), engine(1)
    for item in reversed(items):
        ahead.on_news(item)
    for k, item in enumerate(items, start=1):
        asked.on_news(item)
        asked.snapshot(START + k * DAY // 2 + 1)
    ts = START + 5 * DAY
    np.testing.assert_array_equal(ahead.snapshot(ts).instrument, asked.snapshot(ts).instrument)
    early = engine(1)
    early.on_news(items[-1])
    assert np.isnan(column(early.snapshot(START), "sentiment")[0])


def test_the_tone_is_the_mean_of_what_carries_sentiment_in_the_whole_universe():
    scores = {"up": 1.5, "down": -0.5, "flat": 0.0}
    features = engine(2, score=scores.__getitem__)
    assert features.snapshot(START).news_tone == 0.0
    for k in range(60):
        features.on_news(news(START + 1, item_id=f"u{k}"))
        features.on_news(news(START + 1, symbol="S1", item_id=f"d{k}", headline="down"))
        features.on_news(news(START + 1, item_id=f"f{k}", headline="flat"))
    expected = 60 * (1.5 - 0.5) / (120 + TONE_PRIOR)
    assert features.snapshot(START + 1).news_tone == pytest.approx(expected)


def test_the_tone_follows_the_times_and_knows_no_news_before_they_are_known():
    scores = {"up": 1.0, "down": -1.0}
    features = engine(1, score=scores.__getitem__)
    for k in range(100):
        features.on_news(news(START, item_id=f"u{k}"))
        features.on_news(news(START + 180 * DAY, item_id=f"d{k}", headline="down"))
    assert features.snapshot(START + 180 * DAY - 1).news_tone > 0.5
    later = features.snapshot(START + 180 * DAY).news_tone  # the old weigh a quarter
    assert later == pytest.approx((25 - 100) / (125 + TONE_PRIOR))


def test_trailing_earnings_sum_four_quarters_and_wait_for_the_filing():
    features = engine(1)
    ts = feed(features, np.full((1, 1, 5), 50.0))
    for k, end in enumerate((-400, -310, -220, -130, -40)):
        figures = {"eps": 1.0 + k, "revenue": 100.0 + k, "equity": 90.0, "shares": 3.0}
        filed = ts + DAY if k == 4 else ts - 10 * DAY
        features.on_fundamentals(report(ts + end * DAY, filed, "quarter", **figures))
    assert column(features.snapshot(ts), "earnings_yield")[0] == (1 + 2 + 3 + 4) / 50.0
    later = features.snapshot(ts + DAY)
    assert column(later, "earnings_yield")[0] == (2 + 3 + 4 + 5) / 50.0
    assert column(later, "book_yield")[0] == 30.0 / 50.0
    np.testing.assert_allclose(column(later, "growth")[0], 0.04)


def test_annual_figures_stand_in_where_quarters_do_not_follow_each_other():
    features = engine(1)
    ts = feed(features, np.full((1, 1, 5), 10.0))
    year = {"net_income": 8.0, "equity": 40.0, "shares": 4.0}
    features.on_fundamentals(report(ts - 300 * DAY, ts - 210 * DAY, revenue=110.0, **year))
    features.on_fundamentals(report(ts - 665 * DAY, ts - 575 * DAY, revenue=100.0, **year))
    features.on_fundamentals(report(ts - 120 * DAY, ts - 75 * DAY, "quarter", net_income=3.0))
    snapshot = features.snapshot(ts)
    assert column(snapshot, "earnings_yield")[0] == 8.0 / 4.0 / 10.0
    assert column(snapshot, "profitability")[0] == 0.2
    np.testing.assert_allclose(column(snapshot, "growth")[0], 0.1)
    stale = features.snapshot(ts + 201 * DAY)
    for name in ("earnings_yield", "book_yield", "profitability", "growth"):
        assert np.isnan(column(stale, name)[0])


def test_a_split_after_a_report_leaves_its_yields_alone():
    features = engine(1)
    ts = feed(features, np.full((1, 1, 5), 80.0))
    features.on_fundamentals(report(ts, ts, eps=8.0, equity=400.0, shares=10.0))
    before = features.snapshot(ts)
    features.on_action("S0", 4.0, 0.0)
    after = features.snapshot(feed(features, np.full((1, 1, 5), 20.0), first=1))
    for snapshot in (before, after):
        assert column(snapshot, "earnings_yield")[0] == 0.1
        assert column(snapshot, "book_yield")[0] == 0.5


@pytest.mark.parametrize("asked", [True, False])
def test_a_report_filed_on_the_eve_of_a_split_is_in_old_shares_asked_or_not(asked):
    features = engine(1)
    ts = feed(features, np.full((1, 1, 5), 80.0))
    features.on_fundamentals(report(ts, ts + DAY // 2, eps=8.0))
    if asked:
        features.snapshot(ts + DAY // 2)
    features.on_action("S0", 4.0, 0.0)
    snapshot = features.snapshot(feed(features, np.full((1, 1, 5), 20.0), first=1))
    assert column(snapshot, "earnings_yield")[0] == 0.1


def test_a_high_needs_sixty_closes_within_its_own_window():
    bars = market(8, 320, 2)
    bars[60:310, 0] = np.nan
    features = engine(2)
    feed(features, bars[:60])
    assert np.isfinite(column(features.snapshot(START + 59 * DAY), "drawdown")).all()
    ts = feed(features, bars[60:], first=60)
    values = column(features.snapshot(ts), "drawdown")
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


def test_macro_values_count_from_when_they_are_known_and_revisions_do_not_go_back():
    features = engine(1)

    def tell(series, event, known, value):
        features.on_macro(
            MacroValue(series=series, ts_event=event, ts_init=START + known * DAY, value=value)
        )

    for k in range(21):
        tell("vix", k, k, 10.0 + k)
        tell("commodity", k, k, 50.0 + k)
    tell("vix", 3, 21, 99.0)  # a revision of an old value
    tell("yield_long", 0, 20, 4.0)
    tell("yield_short", 0, 21, 1.0)
    snapshot = features.snapshot(feed(features, np.full((21, 1, 5), 10.0)))
    assert macro(snapshot, "vix") == 30.0
    assert macro(snapshot, "vix_change_5") == 5.0
    assert macro(snapshot, "commodity_return_20") == np.log(70.0 / 50.0)
    assert macro(snapshot, "yield_long") == 4.0
    assert np.isnan(macro(snapshot, "yield_slope"))
    assert snapshot.macro_ts == START + 20 * DAY
    next_day = features.snapshot(START + 21 * DAY)
    assert macro(next_day, "yield_slope") == 3.0
    assert macro(next_day, "vix") == 30.0
    assert np.isnan(macro(features.snapshot(START + 66 * DAY), "vix"))


def test_the_month_stands_on_a_circle():
    january = np.datetime64("2015-01-15", "ns").astype(np.int64)
    july = np.datetime64("2015-07-15", "ns").astype(np.int64)
    features = engine(1)
    snapshot = features.snapshot(int(january))
    assert (macro(snapshot, "month_sin"), macro(snapshot, "month_cos")) == (0.0, 1.0)
    assert macro(features.snapshot(int(july)), "month_cos") == -1.0


def test_the_panel_holds_simple_returns_with_holes_where_nothing_traded():
    bars = market(5, 30, 3)
    bars[10, 1] = np.nan
    features = FeatureEngine(
        instruments(3), price_basis="unadjusted", score=lambda text: 0.0, panel_sessions=25
    )
    assert features.panel().returns.shape == (0, 3)
    feed(features, bars[:11])
    assert features.panel().returns.shape == (10, 3)
    feed(features, bars[11:], first=11)
    panel = features.panel(["S2", "S1"])
    assert panel.symbols == ("S2", "S1")
    expected = bars[1:, :, 3] / bars[:-1, :, 3] - 1.0
    np.testing.assert_allclose(panel.returns, expected[-25:, [2, 1]])
    assert np.isnan(panel.returns[:, 1]).sum() == 2


def test_states_carry_none_for_what_is_masked_and_leave_out_the_unlisted():
    features = engine(3)
    bars = market(4, 70, 3)
    bars[:, 2] = np.nan
    ts = feed(features, bars)
    states, state = features.snapshot(ts).to_states(instruments(3), np.array([0.1, 0.0, 0.0]))
    assert [s.symbol for s in states] == ["S0", "S1"]
    assert states[0].weight == 0.1
    assert states[0].price == bars[-1, 0, 3]
    assert states[0].features[INSTRUMENT_FEATURES.index("sentiment")] is None
    assert isinstance(states[0].features[0], float)
    assert state.ts_init == ts
    assert state.features[MACRO_FEATURES.index("vix")] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.on_action("S9", 1.0, 0.0), "symbol of the universe"),
        (lambda f: f.on_action("S0", 0.0, 0.0), "split > 0"),
        (lambda f: f.on_action("S0", 1.0, float("nan")), "dividend >= 0"),
        (lambda f: feed(f, np.zeros((1, 2, 5)), first=9), "positive prices, was 0.0 for S0"),
        (lambda f: feed(f, np.full((1, 2, 5), np.inf), first=9), "positive prices"),
        (lambda f: feed(f, np.ones((1, 3, 5)), first=9), "shape"),
        (lambda f: feed(f, np.ones((1, 2, 5)), first=4), "a session after"),
        (lambda f: f.snapshot(START), "a stamp from"),
        (lambda f: f.on_news(news(START, headline="bad")), "score of -2..2"),
        (lambda f: f.on_fundamentals(report(START, START, ebitda=1.0)), "figure"),
        (
            lambda f: f.on_macro(MacroValue(series="gdp", ts_event=0, ts_init=0, value=1.0)),
            "series",
        ),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call, message):
    features = engine(2, score=lambda text: float("nan") if text == "bad" else 0.0)
    feed(features, np.ones((5, 2, 5)))
    with pytest.raises(DataError, match=message):
        call(features)


def test_an_unsorted_universe_and_an_unknown_basis_are_refused():
    with pytest.raises(ConfigError, match="sorted by symbol"):
        FeatureEngine(instruments(2)[::-1], price_basis="adjusted", score=lambda text: 0.0)
    with pytest.raises(ConfigError, match="price basis"):
        engine(1, basis="raw")
    with pytest.raises(DataError, match="shape"):
        batch_features(
            instruments(1),
            np.array([START]),
            np.ones((2, 1, 5)),
            price_basis="adjusted",
            score=lambda text: 0.0,
        )


def make_case(features, ts, **kwargs):
    states, state = features.snapshot(ts).to_states(instruments(2))
    return Case(
        ts_event=ts,
        ts_init=ts,
        trigger="schedule",
        horizon="medium",
        instruments=states,
        macro=state,
        portfolio=Portfolio(equity=1.0, cash=1.0, drawdown=0.0),
        **kwargs,
    )


def test_the_context_tells_what_kind_of_evidence_is_fresh():
    features = engine(2)
    bars = market(11, 100, 2)
    bars[-1] = bars[-2] * 1.0001  # no price event
    ts = feed(features, bars)
    track = (TrackRecord(junior="news", hits=10, calls=10),)
    case = make_case(
        features,
        ts,
        news=(news(ts - 3 * DAY),),
        fundamentals=(report(ts - 90 * DAY, ts - 5 * DAY, symbol="S1", eps=1.0),),
        track=track,
    )
    first, second = (dict(zip(CONTEXT_NAMES, row, strict=True)) for row in routing_context(case))
    assert (first["query_news"], first["query_mixed"]) == (1.0, 0.0)
    assert first["news_freshness"] == 0.5
    assert first["fundamentals_freshness"] == 0.0
    assert first["horizon"] == 0.5
    assert first["hit_rate_news"] == 0.75
    assert first["hit_rate_technical"] == 0.5
    assert second["query_fundamental"] == 1.0
    assert second["news_volume"] == 0.0
    both = make_case(features, ts, news=(news(ts),), fundamentals=(report(ts - DAY, ts, eps=1.0),))
    assert routing_context(both)[0, CONTEXT_NAMES.index("query_mixed")] == 1.0
    none = make_case(features, ts)
    assert (routing_context(none)[:, CONTEXT_NAMES.index("query_technical")] == 1.0).all()


def test_the_context_stays_within_zero_and_one_and_each_one_hot_sums_to_one():
    features = engine(2)
    for t, rows in enumerate(market(12, 120, 2)):
        ts = feed(features, rows[None], first=t)
        many = tuple(news(ts, item_id=str(k)) for k in range(60))
        context = routing_context(make_case(features, ts, news=many))
        assert context.shape == (2, 16)
        assert ((context >= 0.0) & (context <= 1.0)).all()
        assert (context[:, :3].sum(axis=1) == 1.0).all()
        assert (context[:, 4:8].sum(axis=1) == 1.0).all()


def test_batch_takes_actions_at_the_session_of_their_opening():
    bars = np.full((3, 1, 5), 60.0)
    bars[1:, :, :4] = 20.0
    ts = START + DAY * np.arange(3)
    batch = batch_features(
        instruments(1),
        ts,
        bars,
        price_basis="unadjusted",
        score=lambda text: 0.0,
        actions=[CorporateAction("S0", int(ts[1]) - DAY // 4, split=3.0)],
    )
    np.testing.assert_allclose(batch.instrument[1:, 0, 0], 0.0, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "limit_ms"), [(8, 0.4), (88, 1.0)])
def test_a_session_and_its_snapshot_are_fast(n, limit_ms):
    names = sorted(f"S{i}" for i in range(n))
    features = FeatureEngine(
        [Instrument(symbol=name, venue="X", group=f"G{i % 11}") for i, name in enumerate(names)],
        price_basis="unadjusted",
        score=lambda text: 1.0,
    )
    bars = np.ascontiguousarray(market(0, 1100, n).transpose(0, 2, 1))
    spent, wall = 0.0, 0.0
    for t, rows in enumerate(bars):
        ts = START + t * DAY
        features.on_news(news(ts, symbol=names[t % n], item_id=str(t)))
        for series in MACRO_SERIES:
            features.on_macro(MacroValue(series=series, ts_event=ts, ts_init=ts, value=20.0))
        before, clock = time.thread_time(), time.perf_counter()
        features.on_session(ts, *rows)
        features.snapshot(ts)
        if t >= 600:
            spent += time.thread_time() - before
            wall += time.perf_counter() - clock
    print(f"\n{n} instruments: {spent * 2:.3f} ms of CPU, {wall * 2:.3f} ms of wall a session")
    assert spent * 2.0 < limit_ms  # seconds over 500 sessions, in milliseconds each
