import numpy as np
import pytest

from agents.allocator.observation import (
    CLIP,
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    assemble,
    bottom_shares,
    flatten,
    group_means,
    observe,
    top_budgets,
    unflatten,
)
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from tests.unit.agents.policies import arrays, normaliser

F, M = len(INSTRUMENT_FEATURES), len(MACRO_FEATURES)


def _seen(batch=5, count=7, budgets=0.2):
    books = [arrays(count, seed) for seed in range(batch)]
    features, macro, weights = (np.stack([b[i] for b in books]) for i in range(3))
    spread = np.full((batch, count), budgets)
    drawdown = np.linspace(0.0, 0.25, batch)
    return observe(features, macro, weights, books[0][3], spread, drawdown, normaliser())


def test_statistics_are_of_what_is_known_and_a_constant_is_only_centred():
    rng = np.random.default_rng(1)
    features = rng.normal(3.0, 2.0, (50, 4, F))
    features[::2, :, 0] = np.nan
    features[1, 0, 0] = np.inf
    features[..., 1], features[..., 2] = 7.0, np.nan
    norm = Normaliser.fit(features, rng.normal(size=(50, M)))
    known = features[1::2, :, 0].ravel()[1:]
    assert norm.feature_mean[:3] == pytest.approx((known.mean(), 7.0, 0.0))
    assert norm.feature_std[:3] == pytest.approx((known.std(), 1.0, 1.0))
    assert norm.features(features)[..., 1:3].tolist() == np.zeros((50, 4, 2)).tolist()


def test_an_observation_has_no_masked_number_and_no_wild_one():
    features = np.full((2, F), 1e30)
    features[0, :3] = np.nan, np.inf, -np.inf
    macro = np.full(M, np.nan)
    seen = observe(features, macro, np.zeros(2), np.ones(2, bool), np.zeros(2), 0.0, normaliser())
    assert seen.instruments[0, :4].tolist() == [0.0, CLIP, -CLIP, CLIP]
    assert seen.market.tolist() == [0.0] * len(MARKET_INPUTS)


def test_what_the_book_holds_stands_beside_the_features_in_units_of_the_limits():
    seen = observe(
        np.full((2, F), np.nan),
        np.full(M, np.nan),
        np.array([0.1, -0.05]),
        np.array([False, True]),
        np.array([0.4, 0.2]),
        0.125,
        normaliser(),
    )
    assert INSTRUMENT_INPUTS[F:] == ("weight", "shortable", "budget")
    assert seen.instruments[:, F:] == pytest.approx(np.array([[1.0, 0, 1.0], [-0.5, 1, 0.5]]))
    assert MARKET_INPUTS[M:] == ("drawdown", "gross")
    assert seen.market[M:] == pytest.approx([0.5, 0.15])


def test_a_batch_holds_the_very_bytes_of_its_observations():
    batch = _seen()
    for i in range(5):
        features, macro, weights, shortable, _ = arrays(7, i)
        one = observe(
            features, macro, weights, shortable, np.full(7, 0.2),
            np.linspace(0.0, 0.25, 5)[i], normaliser(),
        )  # fmt: skip
        assert one.instruments.dtype == one.market.dtype == np.float32
        assert one.instruments.tobytes() == batch.instruments[i].tobytes()
        assert one.market.tobytes() == batch.market[i].tobytes()
        group = [0, 1, 2, 0, 1, 2, 0]
        means = group_means(batch.instruments, group, 4)
        assert group_means(one.instruments, group, 4).tobytes() == means[i].tobytes()


def test_features_that_were_normalised_before_give_the_same_observation():
    features, macro, weights, shortable, _ = arrays()
    norm, budgets = normaliser(), np.full(7, 0.1)
    plain = observe(features, macro, weights, shortable, budgets, 0.1, norm)
    early = assemble(norm.features(features), norm.macro(macro), weights, shortable, budgets, 0.1)
    assert plain.instruments.tobytes() == early.instruments.tobytes()
    assert plain.market.tobytes() == early.market.tobytes()


def test_float32_features_and_a_cases_float64_ones_give_the_same_observation():
    features, macro, _, _, _ = arrays()
    norm = normaliser()
    assert (
        norm.features(features.astype(np.float32)).tobytes() == norm.features(features).tobytes()
    )
    assert norm.macro(macro.astype(np.float32)).tobytes() == norm.macro(macro).tobytes()


def test_a_vector_becomes_the_observation_again():
    seen = _seen()
    again = unflatten(flatten(seen), 7)
    assert np.array_equal(again.instruments, seen.instruments)
    assert np.array_equal(again.market, seen.market)
    with pytest.raises(ValueError, match="expected 220 numbers, was 195"):
        unflatten(flatten(seen), 8)


def test_a_groups_row_is_its_members_mean_and_0_without_members():
    seen = _seen()
    means = group_means(seen.instruments, [0, 2, 2, 0, 0, 0, 0], 3)
    assert means[:, 2] == pytest.approx(seen.instruments[:, 1:3].mean(axis=1), abs=1e-6)
    assert not means[:, 1].any()


@pytest.mark.parametrize(
    ("action", "shortable", "shares"),
    [
        ([-1.0, -1.0], [False, False], [0.0, 0.0]),
        ([0.0, -1.0], [False, False], [0.5, 0.0]),
        ([1.0, 1.0], [False, False], [0.5, 0.5]),
        ([0.25, -0.5], [True, True], [0.25, -0.5]),
        ([1.0, -1.0], [True, True], [0.5, -0.5]),
        ([9.0, -9.0], [True, False], [1.0, 0.0]),
    ],
)
def test_an_action_asks_for_shares_of_a_budget(action, shortable, shares):
    asked = bottom_shares(np.float32([action]), np.array(shortable))
    assert asked[0] == pytest.approx(shares)


def test_no_action_asks_for_more_than_the_whole():
    actions = np.random.default_rng(3).normal(0, 2, (1000, 6))
    shortable = np.array([True, False] * 3)
    assert np.abs(bottom_shares(actions, shortable)).sum(axis=1).max() <= 1.0 + 1e-12
    assert bottom_shares(actions, shortable)[:, ~shortable].min() >= 0.0
    budgets = top_budgets(actions, 0.95)
    assert budgets.min() >= 0.0
    assert budgets.sum(axis=1).max() <= 0.95 + 1e-12
    assert top_budgets(np.array([-1.0, -1.0]), 1.0).tolist() == [0.0, 0.0]
    assert top_budgets(np.array([0.0, -1.0]), 0.8).tolist() == [0.4, 0.0]


@pytest.mark.parametrize(
    ("field", "numbers", "message"),
    [
        ("feature_mean", (0.0,) * 21, "expected 22 numbers in feature_mean, was 21"),
        ("macro_std", (0.0,) * 18, "expected positive numbers in macro_std, was 0.0"),
        ("macro_mean", (float("nan"),) * 18, "expected finite numbers in macro_mean"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(field, numbers, message):
    norm = normaliser()
    fields = {name: getattr(norm, name) for name in norm.__struct_fields__}
    with pytest.raises(ValueError, match=message):
        Normaliser(**{**fields, field: numbers})
