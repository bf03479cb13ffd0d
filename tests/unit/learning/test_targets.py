"""Targets made with hindsight: what they hold, how far they look, and where they end."""

from types import SimpleNamespace

import numpy as np
import pytest

from config.allocator import TargetSettings
from learning.datasets.targets import (
    group_returns,
    sector_targets,
    stock_targets,
    target_sessions,
)
from learning.datasets.windows import Window

GROUP = np.array([0, 1, 2, 0, 1, 2, 0])
SETTINGS = TargetSettings(horizon_sessions=10, tilt=0.1, volatility_per_year=0.08)
M, T, N, G, H = 2, 60, len(GROUP), 3, 10


def dataset(returns):
    return SimpleNamespace(returns=returns, group=GROUP, groups=("A", "B", "C"))


@pytest.fixture
def returns():
    rng = np.random.default_rng(2)
    values = 0.02 * rng.standard_normal((M, T, N))
    values[:, 0] = np.nan
    return values


def test_sector_targets_are_long_only_and_never_borrow(returns):
    targets = sector_targets(dataset(returns), SETTINGS)
    assert targets.shape == (M, T, G)
    known = targets[:, : T - H]
    assert (known >= 0.0).all()
    assert (known.sum(axis=-1) <= 1.0 + 1e-12).all()
    assert np.isnan(targets[:, T - H :]).all()


def test_stock_shares_sum_to_one_in_every_group(returns):
    shares = stock_targets(dataset(returns), SETTINGS)[:, : T - H]
    for g in range(G):
        np.testing.assert_allclose(shares[..., g == GROUP].sum(axis=-1), 1.0)


@pytest.mark.parametrize("rule", [sector_targets, stock_targets])
def test_a_target_looks_at_its_horizon_and_nothing_else(rule, returns):
    before = rule(dataset(returns), SETTINGS)
    for at, changed in ((20, False), (21, True), (30, True), (31, False)):
        poisoned = returns.copy()
        poisoned[:, at, :2] = 0.5
        after = rule(dataset(poisoned), SETTINGS)
        assert (np.abs(after[:, 20] - before[:, 20]).max() > 1e-6) == changed, at


def test_without_a_tilt_shares_are_inverse_volatility(returns):
    plain = TargetSettings(horizon_sessions=H, tilt=0.0, volatility_per_year=1e3)
    targets = sector_targets(dataset(returns), plain)
    future = group_returns(returns, GROUP, G)[0, 6 : 6 + H]
    inverse = 1.0 / np.abs(future).mean(axis=0)
    np.testing.assert_allclose(targets[0, 5], inverse / inverse.sum())


def test_what_rose_for_its_risk_has_more(returns):
    returns[:, :, GROUP == 1] += 0.02
    tilted = sector_targets(dataset(returns), SETTINGS)[:, : T - H]
    plain = sector_targets(dataset(returns), TargetSettings(horizon_sessions=H, tilt=0.0))
    share, before = (x[:, : T - H, 1] / x[:, : T - H].sum(axis=-1) for x in (tilted, plain))
    assert (share > before).mean() > 0.95


def test_a_wild_market_is_held_at_the_wanted_volatility(returns):
    calm = sector_targets(dataset(0.01 * returns), SETTINGS)[:, : T - H].sum(axis=-1)
    np.testing.assert_allclose(calm, 1.0)
    wild = sector_targets(dataset(3.0 * returns), SETTINGS)[0, 5]
    moved = group_returns(3.0 * returns, GROUP, G)[0, 6 : 6 + H] @ wild
    assert wild.sum() < 0.5
    deviation = np.sqrt(np.pi / 2) * np.abs(moved).mean() * np.sqrt(252)
    assert deviation == pytest.approx(SETTINGS.volatility_per_year)


def test_an_instrument_that_does_not_trade_has_no_share(returns):
    returns[:, 20:, 3] = np.nan
    shares = stock_targets(dataset(returns), SETTINGS)
    assert (shares[:, 25, 3] == 0.0).all()
    np.testing.assert_allclose(shares[:, 25, GROUP == 0].sum(axis=-1), 1.0)


def test_a_market_shorter_than_the_horizon_has_no_targets(returns):
    assert np.isnan(sector_targets(dataset(returns[:, :H]), SETTINGS)).all()


def test_the_last_sessions_of_a_window_are_purged():
    assert target_sessions(Window(0, 5, 20), 10).tolist() == list(range(5, 10))
    assert target_sessions(Window(0, 5, 12), 10).tolist() == []
