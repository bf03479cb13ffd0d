"""The forms of the training environment, and as the libraries see them."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet
from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    bottom_shares,
    top_budgets,
    unflatten,
)
from config.allocator import EpisodeSettings, RewardSettings
from config.errors import ConfigError, DataError
from learning.datasets.dataset import training_rows
from learning.datasets.group_dataset import only_group
from learning.envs.bottom_policies import BottomPolicies
from learning.envs.environments import (
    Arena,
    JointEnvironment,
    PortfolioEnvironment,
    SpecialistEnvironment,
)
from learning.envs.vec_env import TwinVecEnv
from learning.twin.twin import Twin
from tests.learning.made_dataset import LOOSE, PARTS, made_dataset

ROWS, MARKET = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)
EPISODE = EpisodeSettings(sessions=12, min_sessions=5, warm_up=0, cohort=1)


@pytest.fixture
def dataset(make_market):
    return made_dataset(make_market)


def arena(dataset, episode=EPISODE) -> Arena:
    norm = Normaliser.fit(*training_rows(dataset, PARTS))
    return Arena(dataset, PARTS.train, PARTS.train, norm, LOOSE, RewardSettings(), episode)


def bottom_policies(dataset) -> BottomPolicies:
    torch.manual_seed(0)
    return BottomPolicies(dataset, {group: BottomNet(ROWS, MARKET) for group in dataset.groups})


def environments(dataset, batch=1):
    return {
        "specialist": SpecialistEnvironment(
            arena(only_group(dataset, "second")), batch, 5, budget=(0.2, 0.4)
        ),
        "portfolio": PortfolioEnvironment(
            arena(dataset), batch, 5, bottom_policies=bottom_policies(dataset)
        ),
        "joint": JointEnvironment(arena(dataset), batch, 5),
    }


def test_sizes_are_those_of_rows_market_and_actors(dataset):
    sizes = {k: (f.observation_size, f.action_size) for k, f in environments(dataset).items()}
    assert sizes == {
        "specialist": (2 * ROWS + MARKET, 2),
        "portfolio": (2 * ROWS + MARKET, 2),
        "joint": (4 * ROWS + MARKET, 6),
    }
    extra = np.zeros((1, len(dataset.ts[0]), 2, 3), dtype=np.float32)
    environment = PortfolioEnvironment(
        arena(dataset), 2, 0, bottom_policies=bottom_policies(dataset), embeddings=extra
    )
    assert (
        environment.reset().shape
        == (2, environment.observation_size)
        == (2, 2 * (ROWS + 3) + MARKET)
    )


@pytest.mark.parametrize("name", ["specialist", "portfolio", "joint"])
def test_restored_form_goes_on_bit_for_bit(dataset, name):
    one, two = environments(dataset, 4)[name], environments(dataset, 4)[name]
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (30, 4, one.action_size))
    one.reset()
    two.reset()
    for a in actions[:7]:
        one.step(a)
    two.restore(one.state())
    for a in actions[7:]:
        (seen, reward, _, over, _), (seen2, reward2, _, over2, _) = one.step(a), two.step(a)
        assert seen.tobytes() == seen2.tobytes()
        assert reward.tobytes() == reward2.tobytes()
        assert (over == over2).all()


def test_ended_rows_start_again_and_hand_over_their_last_observation(dataset):
    environment = SpecialistEnvironment(
        arena(only_group(dataset, "first")), 3, 0, budget=(0.4, 0.4)
    )
    env = TwinVecEnv(environment)
    env.seed(8)
    env.reset()
    environment._stop[1] -= 5  # one row's episode is shorter
    ended = []
    for step in range(1, 13):
        before = env.last.get("episode_return")
        seen, reward, over, infos = env.step(np.ones((3, 2), dtype=np.float32))
        ended += [(step, i) for i in np.flatnonzero(over).tolist()]
        for i in np.flatnonzero(over).tolist():
            last = unflatten(infos[i]["terminal_observation"], 2)
            weight = INSTRUMENT_INPUTS.index("weight")
            assert np.abs(last.instruments[:, weight]).sum() > 0  # it still holds something
            assert np.abs(unflatten(seen[i], 2).instruments[:, weight]).sum() == 0
            assert infos[i]["TimeLimit.truncated"]
            assert infos[i]["episode"]["l"] == step
            assert infos[i]["episode"]["r"] == pytest.approx(before[i] + reward[i], rel=1e-5)
    assert ended == [(7, 1), (12, 0), (12, 2)]


def test_ruin_ends_an_episode_and_is_no_truncation(make_market):
    falling = made_dataset(make_market, drifts=(-0.06, -0.06, 0.006, -0.006))
    long = EpisodeSettings(sessions=30, min_sessions=5, warm_up=0, cohort=1)
    environment = SpecialistEnvironment(
        arena(only_group(falling, "first"), long), 2, 0, budget=(0.95, 0.95)
    )
    environment.reset()
    for _ in range(29):
        _, _, terminated, truncated, info = environment.step(np.ones((2, 2)))
        if terminated.any():
            break
    assert terminated.all()
    assert not truncated.any()
    assert (info["episode_sessions"] < 29).all()


def test_empty_book_earns_nothing_but_what_the_market_did_not(dataset):
    environment = SpecialistEnvironment(
        arena(only_group(dataset, "first")), 2, 0, budget=(0.4, 0.4)
    )
    environment.reset()
    environment._even = np.zeros_like(environment._even)
    for _ in range(5):
        _, reward, *_ = environment.step(-np.ones((2, 2)))
        assert reward == pytest.approx(0.0, abs=1e-12)


def test_joint_form_places_what_the_tiers_ask(dataset, monkeypatch):
    environment = JointEnvironment(arena(dataset), 2, 0)
    asked = []
    real = Twin.step
    monkeypatch.setattr(Twin, "step", lambda t, w: (asked.append(w), real(t, w))[1])
    environment.reset()
    action = np.random.default_rng(0).uniform(-1, 1, (2, 6))
    environment.step(action)
    budgets = top_budgets(action[:, 4:], environment.gross)
    none = np.zeros(2, dtype=bool)
    expected = [
        budgets[:, :1] * bottom_shares(action[:, :2], none),
        budgets[:, 1:] * bottom_shares(action[:, 2:4], none),
    ]
    assert asked[0] == pytest.approx(np.concatenate(expected, axis=1))


def test_group_alone_trades_as_it_does_in_the_whole_book(dataset):
    alone = only_group(dataset, "second")
    assert alone.symbols == ("CCC", "DDD")
    one, two = (Twin(b.market_arrays, LOOSE, 1) for b in (dataset, alone))
    for twin in (one, two):
        twin.reset(np.zeros(1, dtype=np.int64), np.full(1, 70), 0)
    rng = np.random.default_rng(2)
    for _ in range(20):
        weights = rng.uniform(0, 0.4, (1, 2))
        first = one.step(np.concatenate([np.zeros((1, 2)), weights], axis=1))
        assert two.step(weights).growth == pytest.approx(first.growth, abs=1e-12)
    with pytest.raises(DataError, match="expected a group of first, second, was 'third'"):
        only_group(dataset, "third")


def test_every_array_of_a_group_is_as_wide_as_the_group(dataset):
    alone = only_group(dataset, "second")
    for whole, part in (
        (dataset.market_arrays, alone.market_arrays),
        (dataset.market_arrays.risk, alone.market_arrays.risk),
    ):
        for field in fields(whole):
            values = getattr(whole, field.name)
            if isinstance(values, np.ndarray) and values.shape[-1:] == (4,):
                assert getattr(part, field.name).shape[-1] == 2, field.name


def half_listed(dataset, t=80):
    """Return the book as if BBB listed at session `t` and DDD vanished at it."""
    last, age = dataset.market_arrays.last_close.copy(), dataset.market_arrays.age.copy()
    last[0, :t, 1] = np.nan
    age[0, t:, 3] = 10
    market_arrays = replace(dataset.market_arrays, last_close=last, age=age)
    for name in ("bid", "ask", "close"):
        values = getattr(market_arrays, name).copy()
        values[0, :t, :, 1] = values[0, t:, :, 3] = np.nan
        market_arrays = replace(market_arrays, **{name: values})
    return replace(dataset, market_arrays=market_arrays)


@pytest.mark.parametrize("name", ["specialist", "joint"])
def test_what_is_not_listed_is_masked_and_its_action_has_no_effect(dataset, name):
    one, two = (environments(half_listed(dataset))[name] for _ in range(2))
    one.rng, two.rng = (np.random.default_rng(1) for _ in range(2))
    seen, other = one.reset(), two.reset()
    rng = np.random.default_rng(2)
    met = set()
    for _ in range(40):
        listed = one.twin.listed[0]
        met.add(tuple(listed.tolist()))
        np.testing.assert_array_equal(seen, other)
        action = rng.uniform(-1, 1, (1, one.action_size))
        changed = action.copy()
        changed[:, : len(listed)][:, ~listed] *= -1.0
        rows = unflatten(seen, len(listed)).instruments[0, :, :22]
        assert rows.any(axis=1).tolist() == listed.tolist()
        (seen, *_), (other, *_) = one.step(action), two.step(changed)
    assert len(met) > 1


def test_a_top_policy_sees_the_means_of_what_is_listed_and_places_nothing_elsewhere(dataset):
    environment = environments(half_listed(dataset))["portfolio"]
    seen = environment.reset()
    for _ in range(25):
        listed, features = (
            environment.twin.listed[0],
            environment._features[0, environment.twin.t[0]],
        )
        means = [features[g][listed[g]].mean(axis=0) for g in (slice(0, 2), slice(2, 4))]
        shown = unflatten(seen, 2).instruments[0, :, :22]
        np.testing.assert_allclose(shown, means, rtol=1e-5, atol=1e-6)
        assert not environment._targets(np.ones((1, 2)))[0, ~listed].any()
        seen, *_ = environment.step(np.ones((1, 2)))


def test_currency_whose_pair_is_in_another_group_is_refused(dataset):
    sources = (None, None, None, (0, False))
    dataset = replace(dataset, market_arrays=replace(dataset.market_arrays, rate_sources=sources))
    with pytest.raises(DataError, match="DDD: expected AAA, its currency's pair"):
        only_group(dataset, "second")


def test_group_without_a_policy_is_refused(dataset):
    with pytest.raises(ValueError, match="expected a policy for each group, was none"):
        BottomPolicies(dataset, {"first": BottomNet(ROWS, MARKET)})


def test_a_cohort_lives_the_same_sessions_and_is_paid_beyond_its_peers(dataset):
    pairs = EpisodeSettings(sessions=12, min_sessions=5, warm_up=0, cohort=2)
    environment = SpecialistEnvironment(
        arena(only_group(dataset, "second"), pairs), 6, 3, budget=(0.2, 0.4)
    )
    environment.reset()
    starts = environment.twin.t.reshape(3, 2)
    assert (starts[:, 0] == starts[:, 1]).all()
    assert len(set(starts[:, 0].tolist())) > 1
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 2))
    _, paid, _, _, info = environment.step(actions)
    earned = info["reward"].reshape(3, 2)
    assert np.allclose(paid.reshape(3, 2)[:, 0], earned[:, 0] - earned[:, 1])
    assert np.allclose(paid.reshape(3, 2).sum(axis=1), 0.0)
    assert np.ptp(earned, axis=1).min() > 0


def test_alike_books_of_a_cohort_are_paid_nothing(dataset):
    four = EpisodeSettings(sessions=12, min_sessions=5, warm_up=0, cohort=4)
    environment = JointEnvironment(arena(dataset, four), 4, 3)
    environment.reset()
    _, paid, _, _, info = environment.step(np.full((4, environment.action_size), 0.5))
    assert np.abs(info["reward"]).min() > 0
    assert np.abs(paid).max() < 0.1 * np.abs(info["reward"]).max()  # but for their own slippage


def test_a_cohort_ends_as_one(make_market):
    falling = made_dataset(make_market, drifts=(-0.06, -0.06, 0.006, -0.006))
    pair = EpisodeSettings(sessions=30, min_sessions=5, warm_up=0, cohort=2)
    environment = SpecialistEnvironment(
        arena(only_group(falling, "first"), pair), 2, 0, budget=(0.95, 0.95)
    )
    environment.reset()
    actions = np.array([[1.0, 1.0], [-1.0, -1.0]])  # one buys what falls, the other nothing
    for _ in range(30):
        _, _, terminated, truncated, _ = environment.step(actions)
        if terminated.any():
            break
    assert terminated.tolist() == [True, False]
    assert truncated.tolist() == [False, True]


def test_environments_that_make_no_whole_cohorts_are_refused(dataset):
    with pytest.raises(ConfigError, match="whole cohorts of 8, was 12"):
        JointEnvironment(
            arena(dataset, EpisodeSettings(sessions=12, min_sessions=5, warm_up=0)), 12, 0
        )
