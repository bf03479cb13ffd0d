import cvxpy as cp
import msgspec
import numpy as np
import pytest

from backtest.simulator.filter import beliefs
from backtest.simulator.oracles import (
    BPS,
    MOVES,
    Holdings,
    Plan,
    View,
    filter_outlook,
    follow,
    forecast,
    oracle_report,
    oracle_run,
    oracle_sharpe,
    risk_free,
    state_outlook,
)
from backtest.simulator.simulated_market import simulate
from config.settings import LimitSettings
from config.simulator import SimulatorSettings

# exchange_calendars 4.13 uses an accessor that pandas 3.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Series.values:DeprecationWarning")

SHORT = SimulatorSettings(sessions=80, warm_up=100)


def state_oracle(market, *rules):
    return oracle_run(market, state_outlook(market), *rules)


@pytest.fixture(scope="module")
def market():
    return simulate(SHORT, 0)


@pytest.fixture(scope="module")
def state_run(market):
    return state_oracle(market)


def present(market, t):
    z = market.regime[t]
    return View(
        probability=np.eye(3)[z],
        news_drift=market.news_drift[t],
        value_gap=market.value_gap[t],
        momentum=market.momentum[t],
        covariance=market.structure.volatility[z] ** 2 * market.structure.covariance,
    )


def test_a_forecast_begins_at_the_expected_return_and_news_fades_from_it(market):
    path = forecast(market, present(market, 120), 40)
    assert np.allclose(path[0], market.expected_return[120], atol=1e-15)
    loud = present(market, 120)
    news = np.zeros(12)
    news[3] = 0.01
    quiet = View(loud.probability, 0 * news, loud.value_gap, loud.momentum, loud.covariance)
    more = View(loud.probability, news, loud.value_gap, loud.momentum, loud.covariance)
    lift = (forecast(market, more, 40) - forecast(market, quiet, 40))[:, 3]
    assert lift[0] == pytest.approx(0.01 * 11 / 12)
    assert np.all(np.diff(np.abs(lift[:8])) < 0)
    assert abs(lift[-1]) < 0.1 * lift[0]


def test_the_plan_reaches_the_answer_that_can_be_worked_out_by_hand(market):
    free = LimitSettings(max_position=1.0, max_group=1.0, max_gross=1.0)
    n = SHORT.instruments
    mean = np.zeros((21, n))
    mean[:, 0] = 0.0004
    plan = Plan(market, 0.0, free, aversion=5.0)
    weights = plan.target(mean, 4e-4 * np.eye(n), np.zeros(n))
    assert weights[0] == pytest.approx(0.0004 / (5.0 * 4e-4), abs=1e-5)
    assert np.allclose(weights[1:], 0.0, atol=1e-5)


def test_the_plan_leaves_a_book_alone_when_no_gain_pays_for_its_trade(market):
    n = SHORT.instruments
    held = np.full(n, 0.05)
    plan = Plan(market, 0.003, LimitSettings(), aversion=5.0)
    weights = plan.target(np.full((21, n), 1e-4), 1e-4 * np.eye(n), held)
    assert np.allclose(weights, held, atol=1e-6)


def test_the_plan_is_the_program_that_a_modelling_language_makes_of_its_equations(market):
    st, limits, rng = market.structure, LimitSettings(max_group=0.3), np.random.default_rng(0)
    n, m = SHORT.instruments, len(MOVES)
    held, mean, root = cp.Parameter(n), cp.Parameter((m, n)), cp.Parameter((n, n))
    w = cp.Variable((m, n), nonneg=True)
    risk = cp.sum_squares(cp.multiply(np.sqrt(MOVES)[:, None], w) @ root)
    moved = cp.abs(w[0] - held) + cp.sum(cp.abs(w[1:] - w[:-1]), axis=0)
    gain = cp.sum(cp.multiply(mean, w)) - 5.0 / 2.0 * risk
    tradable = np.arange(n) % 3 > 0
    groups = np.eye(len(st.sector_names))[st.sector]
    program = cp.Problem(
        cp.Maximize(gain - 0.003 * BPS * cp.sum(moved)),
        [
            w <= limits.max_position * tradable[None, :],
            cp.sum(w, axis=1) <= limits.max_gross,
            w @ groups <= limits.max_group,
        ],
    )
    plan = Plan(market, 0.003, limits, 5.0, tradable)
    for _ in range(5):
        held.value, covariance = 0.05 * rng.random(n), st.covariance * rng.uniform(1e-5, 4e-4)
        ahead = 1e-2 * rng.standard_normal((sum(MOVES) + 1, n))
        earned = (1.0 - st.overnight_mean) * ahead[:-1] + st.overnight_mean * ahead[1:]
        mean.value = BPS * np.add.reduceat(earned, np.cumsum([0, *MOVES[:-1]]), axis=0)
        root.value = np.linalg.cholesky(BPS * covariance)
        program.solve(solver=cp.CLARABEL)
        wanted = np.maximum(w.value[0], 0.0)
        assert np.allclose(plan.target(ahead, covariance, held.value), wanted, atol=1e-6)
        assert wanted.max() > 0.05


def test_every_target_stays_within_the_limits():
    tight = LimitSettings(max_position=0.08, max_group=0.15, max_gross=0.5)
    short = msgspec.structs.replace(SHORT, sessions=30)
    market = simulate(short, 1)
    weights = state_oracle(market, 0.0, tight).weights[short.warm_up - 1 : -1]
    assert weights.min() >= 0.0
    assert weights.max() <= 0.08 + 1e-6
    assert weights.sum(axis=1).max() <= 0.5 + 1e-6
    groups = np.eye(4)[market.structure.sector]
    assert (weights @ groups).max() <= 0.15 + 1e-6
    assert (weights @ groups).max() > 0.14


def test_a_decision_is_filled_at_the_next_opening_and_pays_its_cost(market):
    book = Holdings(market, 0.003)
    target = np.zeros(12)
    target[2] = 0.5
    equity = book.session(50, target)
    spent = 0.5 * (1.0 - 0.0015)
    grown = spent * market.close[50, 2] / market.open[50, 2]
    cash = (1.0 - spent - 0.003 * spent) * (1.0 + risk_free(market)[49])
    assert equity == pytest.approx(grown + cash, rel=1e-12)


def test_idle_cash_earns_the_risk_free_rate_and_no_sharpe(market):
    run = follow(market, lambda t, held: None, 0.003)
    first = SHORT.warm_up - 1
    assert run.equity[-1] == pytest.approx(np.prod(1.0 + risk_free(market)[first:-1]))
    assert oracle_sharpe(market, run.equity) == 0.0


def test_the_state_oracle_sees_no_future_shock(market, state_run):
    longer = simulate(msgspec.structs.replace(SHORT, sessions=100), 0)
    weights = state_oracle(longer).weights[: len(state_run.weights) - 1]
    assert np.array_equal(weights, state_run.weights[:-1], equal_nan=True)


def test_runs_repeat_bit_for_bit(market, state_run):
    assert np.array_equal(state_oracle(market).equity, state_run.equity)


def test_the_filter_oracle_holds_the_beliefs_and_differs_from_the_state_oracle(market, state_run):
    run = oracle_run(market, filter_outlook(market))
    held = beliefs(market)
    assert len(held) == len(run.weights)
    assert np.nanmax(np.abs(run.weights - state_run.weights)) > 0.01


def test_an_instruments_own_cost_takes_the_place_of_the_default():
    free = msgspec.structs.replace(SHORT, sessions=20, cost_bps=0.0)
    dear = msgspec.structs.replace(SHORT, sessions=20, cost_bps=400.0)
    turnover = [
        np.abs(np.diff(state_oracle(simulate(s, 0)).weights[99:-1], axis=0)).sum()
        for s in (free, dear)
    ]
    assert turnover[0] > 4.0 * turnover[1]


def test_knowing_more_earns_more_on_average():
    ratios = oracle_report(msgspec.structs.replace(SHORT, sessions=120), range(2))
    mean = {name: np.mean(values) for name, values in ratios.items()}
    assert mean["state_oracle"] > mean["filter_oracle"] > mean["equal_weight"]


@pytest.mark.slow
def test_on_the_default_market_the_order_is_clear_over_five_seeds():
    ratios = oracle_report(SimulatorSettings(), range(5))
    mean = {name: np.mean(values) for name, values in ratios.items()}
    assert mean["state_oracle"] > mean["filter_oracle"] > mean["equal_weight"] + 0.3
    assert 1.5 < mean["filter_oracle"] < 3.0
