from itertools import product

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from backtest.simulator.filter import BayesFilter, beliefs, ideal_reading, observe
from backtest.simulator.simulated_market import simulate
from backtest.simulator.structure import relative
from config.simulator import SimulatorSettings

# exchange_calendars 4.13 uses an accessor that pandas 3.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Series.values:DeprecationWarning")

TINY = SimulatorSettings(
    instruments=3,
    sectors=2,
    start="2019-03-26",  # a quarter ends on the fourth session
    sessions=8,
    warm_up=0,
    filing_days=5,
    wire_per_session=0.5,
    news_strength=0.01,
    value_spread=0.2,
    regime_sessions=(4.0, 3.0, 3.0),
)
USUAL = SimulatorSettings(sessions=500, warm_up=250)


def enumerated(market, seen):
    """
    Return (T, K) twice: of the present regime, and of the one that drove each session.

    Sums the joint density over all regime paths of each length; nothing is recursive.
    """
    st, n = market.structure, market.settings.instruments
    start = st.stationary @ st.macro_level
    keep = st.macro_persistence
    usual = float(st.stationary @ st.volatility) * st.deviation
    scale = st.volatility * np.sqrt((st.tail_freedom - 2.0) / st.tail_freedom)

    def tape(k, z):
        returns = seen[k].log_close - seen[k - 1].log_close
        level = seen[k].log_volume - np.log(st.base_volume)
        level = np.mean(level - st.volume_slope * np.abs(returns) / usual)
        return student.pdf(returns.mean(), st.tail_freedom, st.drift[z], scale[z]) * norm.pdf(
            level, st.volume_level[z], st.volume_noise / np.sqrt(n)
        )

    def macro(k, z):
        last = seen[k - 1].macro if k else start
        mean = keep * last + (1.0 - keep) * st.macro_level[z]
        return np.prod(norm.pdf(seen[k].macro, mean, st.macro_noise))

    tapes = [[tape(k, z) if k else 1.0 for z in range(3)] for k in range(len(seen))]
    macros = [[macro(k, z) for z in range(3)] for k in range(len(seen))]
    present, driver = np.zeros((len(seen), 3)), np.zeros((len(seen), 3))
    for last in range(len(seen)):
        for path in product(range(3), repeat=last + 1):
            weight = st.stationary[path[0]] * macros[0][path[0]]
            for k in range(1, last + 1):
                weight *= st.transition[path[k - 1], path[k]] * tapes[k][path[k - 1]]
                if k < last:
                    weight *= macros[k][path[k]]
            if last:
                driver[last, path[-2]] += weight
                weight *= macros[last][path[last]]
            present[last, path[-1]] += weight
    driver[0] = 1.0
    return present / present.sum(1, keepdims=True), driver / driver.sum(1, keepdims=True)


def joint_gaussian(market, seen, driver, reading):
    """
    Return the last session's news drifts and values, mean (2N,) and covariance.

    Writes every state and observation as a linear map of one vector of independent normals, and
    conditions once; nothing is recursive.
    """
    st, s, n = market.structure, market.settings, market.settings.instruments
    size, dim = len(seen), market.settings.instruments
    centre = np.eye(n) - 1.0 / n
    # independent normals: first gap, then per session news noise and value noise
    width = n * (1 + 2 * size)
    block = lambda j: slice(j * n, (j + 1) * n)  # noqa: E731
    news_map, news_mean = np.zeros((size, n, width)), np.zeros((size, n))
    value_map, value_mean = np.zeros((size, n, width)), np.zeros((size, n))
    value_map[0][:, block(0)] = s.value_spread * np.eye(n)
    value_mean[0] = relative(seen[0].log_close)
    for k in range(size):
        if k:
            news_map[k] = st.news_decay * news_map[k - 1]
            news_mean[k] = st.news_decay * news_mean[k - 1]
            value_map[k], value_mean[k] = value_map[k - 1].copy(), value_mean[k - 1]
            value_map[k][:, block(2 + 2 * k)] += s.value_volatility * np.eye(n)
        news_mean[k] = news_mean[k] + s.news_strength * seen[k].sentiment
        spread = s.news_strength * np.sqrt(reading.variance * seen[k].items)
        news_map[k][:, block(1 + 2 * k)] += np.diag(spread)
    rows, means, values, noises = [], [], [], []
    momentum, quarter = np.zeros(n), 0
    for k in range(size):
        if k:
            returns = seen[k].log_close - seen[k - 1].log_close
            technical = st.technical(momentum)
            mean = driver[k] @ technical
            cov = sum(
                p * (st.volatility[z] ** 2 * st.covariance + np.outer(x - mean, x - mean))
                for z, (p, x) in enumerate(zip(driver[k], technical, strict=True))
            )
            rows.append(centre @ (news_map[k - 1] + s.value_pull * value_map[k - 1]))
            means.append(
                mean
                + centre @ (news_mean[k - 1] + s.value_pull * value_mean[k - 1])
                - s.value_pull * relative(seen[k - 1].log_close)
            )
            values.append(returns)
            noises.append(cov)
            keep = st.momentum_decay
            momentum = keep * momentum + (1.0 - keep) * relative(returns)
        if seen[k].filed is not None:
            rows.append(value_map[quarter])
            means.append(value_mean[quarter] + seen[quarter].log_close.mean())
            values.append(seen[k].filed)
            noises.append(s.report_noise**2 * np.eye(n))
        if seen[k].quarter_end:
            quarter = k
    look = np.concatenate(rows)
    total = look @ look.T
    for j, noise in enumerate(noises):
        total[j * dim : (j + 1) * dim, j * dim : (j + 1) * dim] += noise
    state_map = np.concatenate([news_map[-1], value_map[-1]])
    gain = state_map @ look.T @ np.linalg.inv(total)
    mean = np.concatenate([news_mean[-1], value_mean[-1]])
    mean = mean + gain @ (np.concatenate(values) - np.concatenate(means))
    return mean, state_map @ state_map.T - gain @ look @ state_map.T


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_regimes_agree_with_every_path_enumerated(seed):
    market = simulate(TINY, seed)
    seen = list(observe(market, ideal_reading(TINY)))
    present, driver = enumerated(market, seen)
    held = beliefs(market)
    assert np.abs(np.array([b.probability for b in held]) - present).max() < 1e-9
    assert np.abs(np.array([b.driver for b in held[1:]]) - driver[1:]).max() < 1e-9
    assert present.max() > 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_news_and_values_agree_with_the_joint_normal_law(seed):
    market = simulate(TINY, seed)
    reading = ideal_reading(TINY)
    seen = list(observe(market, reading))
    assert any(x.quarter_end for x in seen)
    assert any(x.filed is not None for x in seen)
    assert sum(x.items.sum() for x in seen) > 0
    held = beliefs(market)
    _, driver = enumerated(market, seen)
    mean, covariance = joint_gaussian(market, seen, driver, reading)
    last, n = held[-1], TINY.instruments
    place = relative(seen[-1].log_close)
    assert np.abs(last.news_drift - mean[:n]).max() < 1e-6
    assert np.abs(last.value_gap - relative(mean[n:] - place)).max() < 1e-6
    assert np.abs(last.state_covariance - covariance).max() < 1e-6
    assert np.abs(last.state_covariance - covariance).max() < 1e-6 * np.abs(covariance).max()


def test_the_expected_return_is_built_from_the_believed_state():
    market = simulate(TINY, 1)
    b = beliefs(market)[-1]
    technical = b.probability @ market.structure.technical(b.momentum)
    total = technical + relative(b.news_drift) + TINY.value_pull * b.value_gap
    assert np.allclose(b.expected_return, total, atol=1e-12)
    assert np.all(np.linalg.eigvalsh(b.covariance) > 0)


def test_beliefs_never_depend_on_later_sessions():
    short = beliefs(simulate(TINY, 0))
    longer = SimulatorSettings(
        **{f: getattr(TINY, f) for f in TINY.__struct_fields__} | {"sessions": 20}
    )
    for a, b in zip(short, beliefs(simulate(longer, 0)), strict=False):
        assert np.array_equal(a.expected_return, b.expected_return)
        assert np.array_equal(a.covariance, b.covariance)


@pytest.fixture(scope="module")
def usual():
    market = simulate(USUAL, 2)
    return market, beliefs(market)


def correlation(a, b):
    return np.corrcoef(a[250:].ravel(), b[250:].ravel())[0, 1]


def test_the_filter_finds_the_hidden_state_but_not_all_of_it(usual):
    market, held = usual
    regime = np.array([b.probability.argmax() for b in held])
    assert 0.7 < np.mean(regime == market.regime) < 1.0
    for name in ("news_drift", "value_gap", "expected_return"):
        found = np.array([getattr(b, name) for b in held])
        assert 0.5 < correlation(found, getattr(market, name)) < 0.97, name


def test_the_filter_is_honest_about_its_own_errors(usual):
    market, held = usual
    n = USUAL.instruments
    error = np.array([b.news_drift for b in held]) - market.news_drift
    claimed = np.sqrt(np.array([np.diag(b.state_covariance)[:n] for b in held]))
    ratio = np.sqrt(np.mean(error[250:] ** 2) / np.mean(claimed[250:] ** 2))
    assert ratio == pytest.approx(1.0, abs=0.15)


def test_chatter_changes_no_belief(usual):
    market, _ = usual
    wire = sum(x.items.sum() for x in observe(market, ideal_reading(USUAL)))
    assert wire == market.news_truth.wire.sum() < len(market.news)


def test_the_first_session_is_known_only_by_its_macro_values():
    market = simulate(TINY, 0)
    first = BayesFilter(market.structure, TINY).step(
        next(iter(observe(market, ideal_reading(TINY))))
    )
    assert first.probability.sum() == pytest.approx(1.0)
    assert np.array_equal(first.driver, market.structure.stationary)
