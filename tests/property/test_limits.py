"""The gate's promise, over generated books, histories and limits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.gate.limits import project, restrain
from agents.gate.measures import Measures, measure
from agents.gate.risk_model import RiskModel, estimate_risk
from config.settings import LimitSettings

LIMITS = LimitSettings()


def market(seed: int, n: int, *, sessions: int = 260, shortable: bool = True) -> RiskModel:
    rng = np.random.default_rng(seed)
    factor = rng.standard_t(4, size=(sessions, 1)) * 0.01
    beta = rng.normal(0.8, 0.8, size=(1, n))
    returns = factor * beta + rng.standard_t(4, size=(sessions, n)) * rng.uniform(0.003, 0.03, n)
    returns[rng.random(returns.shape) < 0.02] = np.nan
    return estimate_risk(returns, rng.integers(0, 4, n), np.full(n, shortable), 60)


def assert_promise(after: Measures, before: Measures, limits: LimitSettings) -> None:
    for name, limit in (
        ("position", limits.max_position),
        ("group", limits.max_group),
        ("gross", limits.max_gross),
        ("correlation", limits.max_correlation),
        ("var", limits.max_var),
    ):
        cap = np.maximum(limit, getattr(before, name))
        worst = np.max(getattr(after, name) - cap, initial=-1.0)
        assert worst <= 1e-8, f"{name} is {worst} beyond its cap"


def book(rng: np.random.Generator, n: int, size: float) -> np.ndarray:
    return rng.normal(0, size, n) * (rng.random(n) < 0.7)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.floats(0.001, 0.6), st.booleans())
def test_a_projected_book_is_inside_every_limit(seed, n, size, shortable):
    model = market(seed, n, shortable=shortable)
    asked = book(np.random.default_rng(seed + 1), n, size)
    allowed, _ = project(asked, model, LIMITS)
    zero = measure(np.zeros(n), model)
    assert_promise(measure(allowed, model), zero, LIMITS)
    assert np.all(np.abs(allowed) <= np.abs(asked) + 1e-15)
    assert shortable or np.all(allowed >= 0)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.floats(0.001, 0.6), st.floats(0.001, 0.6))
def test_no_basket_takes_a_measure_beyond_its_limit_or_worsens_a_breach(seed, n, ask, hold):
    rng = np.random.default_rng(seed)
    model = market(seed, n)
    held, asked = book(rng, n, hold), book(rng, n, ask)
    movable = rng.random(n) < 0.8
    blocked = np.where(rng.random(n) < 0.2, 7, 0)
    allowed, _ = restrain(asked, held, model, LIMITS, movable=movable, blocked=blocked)
    assert_promise(measure(allowed, model), measure(held, model), LIMITS)
    assert np.array_equal(allowed[~movable], held[~movable])
    grown = np.abs(allowed) > np.abs(held) + 1e-12
    assert not np.any(grown & (blocked > 0))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 20), st.floats(0.01, 0.6))
def test_a_breached_book_is_brought_back_inside_when_all_can_trade(seed, n, hold):
    rng = np.random.default_rng(seed)
    model = market(seed, n)
    held = book(rng, n, hold)
    forced = rng.random(n) < 0.3
    allowed, _ = restrain(held, held, model, LIMITS, forced=forced)
    assert_promise(measure(allowed, model), measure(np.zeros(n), model), LIMITS)
    assert np.all(allowed[forced] == 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_batch_of_books_is_judged_as_each_book_alone(seed):
    rng = np.random.default_rng(seed)
    model = market(seed, 8)
    asked = rng.normal(0, 0.2, (5, 3, 8))
    held = rng.normal(0, 0.2, (5, 3, 8))
    together, causes = restrain(asked, held, model, LIMITS)
    for i in range(5):
        for j in range(3):
            alone, cause = restrain(asked[i, j], held[i, j], model, LIMITS)
            np.testing.assert_allclose(together[i, j], alone, atol=1e-12)
            assert np.array_equal(causes[i, j], cause)


def test_an_instrument_with_a_short_history_is_not_bought():
    model = estimate_risk(
        np.full((10, 2), 0.001), np.zeros(2, np.int64), np.zeros(2, bool), min_history=60
    )
    allowed, cause = restrain(np.array([0.05, 0.0]), np.zeros(2), model, LIMITS)
    assert allowed[0] == 0
    assert cause[0] == 5


def test_a_book_inside_every_limit_passes_unchanged():
    model = market(3, 6)
    asked = np.array([0.01, -0.01, 0.02, 0.0, 0.01, 0.01])
    allowed, cause = restrain(asked, np.zeros(6), model, LIMITS)
    assert np.array_equal(allowed, asked)
    assert not cause.any()
