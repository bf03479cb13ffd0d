"""What a session is worth to a learner, and what a policy's path is measured by."""

import numpy as np
import pytest

from config.allocator import RewardSettings
from config.errors import DataError
from config.settings import LimitSettings
from learning.allocator.evaluation.policy_paths import largest_budget, run_policy
from learning.datasets.windows import Window
from learning.rewards.policy_reward import Reward, concentration, reference_volatility
from tests.learning.made_dataset import LOOSE, SESSIONS, made_dataset

REFERENCE = 0.01
EVEN = np.full((1, 4), 0.1)


def worth(
    growth,
    *,
    risk_free=0.0,
    weights=EVEN,
    budget=0.4,
    drawdown=0.0,
    before=0.0,
    even=0.0,
    **changed,
):
    reward = Reward(RewardSettings(**changed), REFERENCE)
    one = [np.array([float(x)]) for x in (growth, risk_free)]
    rest = [np.array([float(x)]) for x in (budget, drawdown, before, even)]
    return float(reward(*one, np.asarray(weights, dtype=float), *rest)[0])


def test_riskless_growth_is_worth_nothing():
    assert worth(0.0002, risk_free=0.0002) == 0.0
    assert worth(0.0003, risk_free=0.0002) > 0.0


def test_unknown_rate_is_the_settings_own():
    assert worth(0.02 / 252, risk_free=np.nan) == 0.0


def test_reward_is_in_units_of_the_budgets_own_risk():
    small = worth(np.expm1(0.002), budget=0.2)
    assert worth(np.expm1(0.004), budget=0.4) == pytest.approx(small)


def test_loss_costs_more_than_a_gain_of_its_size_brings():
    assert worth(0.004) + worth(-0.004) < 0.0
    evenly = worth(0.004, downside_weight=0.0) + worth(-0.004, downside_weight=0.0)
    assert evenly > worth(0.004) + worth(-0.004)


def test_only_what_deepens_a_drawdown_beyond_the_target_is_charged():
    flat = worth(-0.004)
    assert worth(-0.004, drawdown=0.10, before=0.09) == flat
    assert worth(-0.004, drawdown=0.20, before=0.20) == flat
    assert worth(-0.004, drawdown=0.20, before=0.18) < worth(-0.004, drawdown=0.16, before=0.15)


def test_spread_book_is_given_back_part_of_its_risk_charge_and_never_more():
    alone = [[0.4, 0.0, 0.0, 0.0]]
    assert worth(-0.004, weights=EVEN) > worth(-0.004, weights=alone)
    symmetric = worth(np.expm1(0.004)) + worth(np.expm1(-0.004))
    assert symmetric < 0.0


def test_reward_of_normal_returns_is_best_where_the_sharpe_ratio_is_the_targets_share():
    rng = np.random.default_rng(0)
    returns = 0.05 * REFERENCE * 0.4 + REFERENCE * 0.4 * rng.standard_normal(200_000)
    reward = Reward(RewardSettings(diversification_weight=0.0), REFERENCE)
    sizes = np.array([0.0, 0.2, 0.4, 0.6, 0.9])
    means = [
        reward(
            np.expm1(size * returns),
            np.zeros(len(returns)),
            np.ones((len(returns), 1)),
            np.full(len(returns), 0.4),
            *np.zeros((3, len(returns))),
        ).mean()
        for size in sizes
    ]
    # Sharpe 0.05 a session over a target of 2 a year: 0.05 / 0.126 = 0.4 of the reference risk
    assert sizes[int(np.argmax(means))] == 0.4


def test_half_of_what_the_market_did_is_taken_off_whatever_the_book_did():
    gains, losses = (worth(g, even=0.01) - worth(g) for g in (0.004, -0.004))
    assert gains == pytest.approx(losses) == pytest.approx(-0.5 * worth(np.expm1(0.004)), rel=1e-9)


def test_concentration_goes_from_even_to_one_instrument():
    books = np.array([[0.1, 0.1, 0.1, 0.1], [0.2, -0.2, 0.0, 0.0], [0.3, 0, 0, 0], [0, 0, 0, 0]])
    assert concentration(books) == pytest.approx([0.0, 1 / 3, 1.0, 1.0])
    assert concentration(np.array([[0.3], [0.0]])).tolist() == [1.0, 1.0]


def test_reference_is_the_even_books_deviation_in_the_windows_alone():
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.01, (2, 300, 4))
    returns[1] *= 50
    returns[0, 200:] *= 50
    found = reference_volatility(returns, [Window(0, 0, 200)])
    assert found == pytest.approx(returns[0, :200].mean(axis=-1).std())
    with pytest.raises(DataError, match="expected returns that move"):
        reference_volatility(np.zeros((1, 50, 2)), [Window(0, 0, 40)])


def test_budget_is_what_the_limits_leave_a_group():
    limits = LimitSettings()
    assert largest_budget(3, limits) == pytest.approx(0.285)
    assert largest_budget(9, limits) == pytest.approx(0.38)


def test_windows_of_several_lengths_are_walked_each_to_its_end(make_market):
    dataset = made_dataset(make_market)
    windows = [Window(0, 65, 95), Window(0, 100, 110), Window(0, 139, 169)]
    assert windows[2].stop == SESSIONS - 1
    path = run_policy(dataset, windows, LOOSE, lambda twin: np.full((twin.batch, 4), 0.2))
    assert np.isfinite(path.growth).sum(axis=1).tolist() == [30, 10, 30]
    alone = run_policy(dataset, windows[:1], LOOSE, lambda twin: np.full((twin.batch, 4), 0.2))
    assert alone.growth[0] == pytest.approx(path.growth[0], abs=1e-6)
    cash = run_policy(dataset, windows, LOOSE, lambda twin: np.zeros((twin.batch, 4)))
    assert cash.sharpe == 0.0
    with pytest.raises(DataError, match="expected a window to evaluate on"):
        run_policy(dataset, [], LOOSE, lambda twin: twin.weights)
