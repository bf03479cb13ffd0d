from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest

from backtest.simulator.simulated_market import load_simulated, simulate
from backtest.simulator.structure import MACRO_NAMES
from backtest.simulator.text import level_of, level_values, read, write
from config.errors import ConfigError
from config.simulator import REGIMES, SimulatorSettings

# exchange_calendars 4.13 uses an accessor that pandas 3.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Series.values:DeprecationWarning")

SMALL = SimulatorSettings(instruments=5, sectors=2, sessions=200, warm_up=60)
LONG = SimulatorSettings(instruments=12, sectors=4, sessions=6000, warm_up=0)


@pytest.fixture(scope="module")
def market():
    return simulate(SMALL, 3)


@pytest.fixture(scope="module")
def long_market():
    return simulate(LONG, 1)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    assert load_simulated(SMALL, 3).digest == load_simulated(SMALL, 3).digest
    assert load_simulated(SMALL, 3).digest != load_simulated(SMALL, 4).digest


def test_a_longer_market_begins_with_the_shorter_one(market):
    longer = simulate(msgspec.structs.replace(SMALL, sessions=500), 3)
    t = len(market.regime)
    for f in fields(market):
        short, long = getattr(market, f.name), getattr(longer, f.name)
        if isinstance(short, np.ndarray):
            assert np.array_equal(short, long[:t]), f.name
    end = int(market.ts_close[-1])
    assert market.news == tuple(x for x in longer.news if x.ts_init <= end)
    assert market.fundamentals == tuple(x for x in longer.fundamentals if x.ts_init <= end)
    assert market.macro == longer.macro[: len(market.macro)]
    assert len(longer.fundamentals) > len(market.fundamentals) > 0


def test_the_components_and_the_base_drift_sum_to_the_expected_return(market):
    total = market.component_news + market.component_technical + market.component_fundamental
    assert np.allclose(total + market.base_drift, market.expected_return, atol=1e-15)


def test_news_and_value_never_move_the_index(market):
    assert np.allclose(market.component_news.mean(axis=1), 0.0, atol=1e-15)
    assert np.allclose(market.component_fundamental.mean(axis=1), 0.0, atol=1e-15)
    drift = market.structure.drift[market.regime]
    assert np.allclose(market.expected_return.mean(axis=1), drift, atol=1e-15)


def test_returns_follow_the_expected_return_with_the_stated_volatility(long_market):
    shock = np.diff(long_market.log_price, axis=0) - long_market.expected_return[:-1]
    unit = shock / long_market.volatility[:-1]
    assert abs(unit.mean()) < 0.02
    assert unit.std() == pytest.approx(1.0, abs=0.04)
    slope = np.sum((shock + long_market.expected_return[:-1]) * long_market.expected_return[:-1])
    slope /= np.sum(long_market.expected_return[:-1] ** 2)
    assert slope == pytest.approx(1.0, abs=0.2)


def test_shocks_have_fat_tails_and_sectors_move_together(long_market):
    unit = (np.diff(long_market.log_price, axis=0) - long_market.expected_return[:-1]) / (
        long_market.volatility[:-1]
    )
    assert np.mean(unit**4) > 4.0
    links = np.corrcoef(unit.T)
    same = long_market.structure.sector[:, None] == long_market.structure.sector
    np.fill_diagonal(same, False)
    other = long_market.structure.sector[:, None] != long_market.structure.sector
    assert links[same].mean() > links[other].mean() + 0.08


def test_regimes_last_as_long_as_set_and_visit_their_stationary_shares(long_market):
    st, regime = long_market.structure, long_market.regime
    shares = np.bincount(regime, minlength=len(REGIMES)) / len(regime)
    assert np.allclose(shares, st.stationary, atol=0.15)
    runs = len(regime) / (1 + np.count_nonzero(np.diff(regime)))
    assert runs == pytest.approx(80.0, rel=0.4)
    assert np.allclose(st.stationary @ st.transition, st.stationary)


def test_news_drift_decays_between_items(market):
    quiet = np.ones(market.news_drift.shape, dtype=bool)
    quiet[market.news_truth.session, market.news_truth.instrument] = False
    before, after = market.news_drift[:-1], market.news_drift[1:]
    assert np.allclose(after[quiet[1:]], market.structure.news_decay * before[quiet[1:]])


def test_only_wire_items_move_drift(market):
    truth = market.news_truth
    assert {"wire", "chatter"} == {item.source for item in market.news}
    chatter = np.array([item.source == "chatter" for item in market.news])
    assert np.all(truth.impulse[chatter] == 0.0)
    assert np.all(truth.impulse[~chatter] == SMALL.news_strength * truth.sentiment[~chatter])


def test_news_is_known_between_the_last_close_and_its_sessions_close(market):
    for item, session in zip(market.news, market.news_truth.session, strict=True):
        floor = market.ts_close[session - 1] if session else market.ts_open[0]
        assert floor < item.ts_event < item.ts_init < market.ts_close[session]


def test_gaps_revert_to_the_hidden_value(long_market):
    gap = long_market.value_gap
    later = np.sum(gap[:-60] * gap[60:]) / np.sum(gap**2)
    assert 0.0 < later < 0.6


def test_filings_come_after_their_quarter_and_tell_its_value(market):
    quarter_length = 80 * 86_400_000_000_000
    for report in market.fundamentals:
        assert report.ts_init - report.ts_event == SMALL.filing_days * 86_400_000_000_000
        assert report.ts_init - report.ts_event < quarter_length
    said = np.log([4.0 * r.figures["eps"] for r in market.fundamentals])
    told = said.reshape(-1, SMALL.instruments) - np.log(market.structure.earnings_yield)
    truth = market.log_value[market.reports.session]
    assert np.abs(told - truth).max() < 5.0 * SMALL.report_noise


def test_the_tape_is_a_valid_unadjusted_market(market):
    data = market.to_market_data()
    assert data.price_basis == "unadjusted"
    assert {i.venue for i in data.instruments} == {"SIM"}
    b = data.bars
    assert (b.low <= b[["open", "close"]].min(axis=1)).all()
    assert (b.high >= b[["open", "close"]].max(axis=1)).all()
    assert (b.low > 0).all()
    assert (b.volume > 0).all()
    assert (b.ts_open < b.ts_close).all()
    assert len(b) == (SMALL.sessions + SMALL.warm_up) * SMALL.instruments
    assert {m.series for m in data.macro} == set(MACRO_NAMES)


def test_overnight_gaps_carry_their_share_of_variance(long_market):
    before = np.log(long_market.close[:-1])
    night = np.log(long_market.open[1:]) - before
    whole = np.log(long_market.close[1:]) - before
    assert night.var() / whole.var() == pytest.approx(
        long_market.structure.overnight_mean, abs=0.05
    )


def test_the_regime_shows_in_the_macro_series(long_market):
    vix = long_market.macro_values[:, MACRO_NAMES.index("vix")]
    bull, bear = (vix[long_market.regime == k].mean() for k in (0, 1))
    assert bear > bull + 4.0


def test_no_message_names_a_regime(market):
    data = market.to_market_data()
    words = msgspec.json.encode([data.news, data.fundamentals, data.macro]).lower()
    for name in REGIMES:
        assert name.encode() not in words


@pytest.mark.parametrize("level", range(-2, 3))
def test_the_ideal_reader_undoes_every_headline(level):
    rng = np.random.default_rng(7)
    value = level_values()[level + 2]
    assert level_of(value) == level
    for _ in range(200):
        headline, _ = write("Aldane Works", value, bool(rng.integers(2)), rng.random(5))
        assert read(headline) == value


def test_headlines_are_varied(market):
    bare = {item.headline for item in market.news}
    assert len(bare) > 0.95 * len(market.news)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sectors": 9}, "sectors: expected at most 5"),
        ({"own_share": 0.9}, "own_share: expected"),
        ({"regime_sessions": (1.0, 50.0, 60.0)}, "regime_sessions: expected more than 1"),
    ],
)
def test_contradicting_settings_are_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        msgspec.structs.replace(SMALL, **change)


def test_a_start_that_is_no_date_is_refused():
    with pytest.raises(ConfigError, match="expected start"):
        simulate(msgspec.structs.replace(SMALL, start="soon"), 0)


def test_an_own_cost_reaches_every_instrument(market):
    dear = replace(market, settings=msgspec.structs.replace(SMALL, cost_bps=7.0))
    assert {i.cost_bps for i in dear.to_market_data().instruments} == {7.0}
    assert {i.cost_bps for i in market.to_market_data().instruments} == {None}
