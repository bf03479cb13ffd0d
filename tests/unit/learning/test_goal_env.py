"""The goal-conditioned environment: its goals, its reward, and hindsight's share of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from agents.allocator.networks import HIDDEN, BottomNet, TopNet
from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    bottom_shares,
    group_means,
    observe,
    top_budgets,
)
from agents.allocator.policy_file import PolicyCard, save_policy
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.messages import Instrument, TrainingRecord
from config.allocator import HerSettings
from config.errors import ConfigError
from config.settings import UNLIMITED, DeskSettings, MarketSettings, Settings
from learning.allocator.training.equity.hindsight import goal_table
from learning.allocator.training.equity.micro import SectorBottom, bounded
from learning.allocator.training.equity.td3_policy import SectorValue, SessionInputs
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Window
from learning.envs.goal_env import POSITION_UNIT, GoalMarket, GoalVecEnv, positions
from learning.twin.market_arrays import make_market_arrays
from tests.learning.made_dataset import bare_dataset

GROUP = np.array([0, 0, 1, 1, 1])
SETTINGS = Settings(
    limits=UNLIMITED,
    market=MarketSettings(cost_frac=0.001),
    desk=DeskSettings(no_trade_band=0.0),
)
HER = HerSettings(episode_sessions=6, return_scale=2.0, reward_scale=3.0)


@pytest.fixture
def dataset(make_market) -> Dataset:
    symbols = tuple(f"S{i}" for i in range(len(GROUP)))
    instruments = tuple(
        Instrument(symbol=s, venue="SIM", group=f"G{g}")
        for s, g in zip(symbols, GROUP.tolist(), strict=True)
    )
    markets = [
        make_market(symbols=symbols, instruments=instruments, sessions=40, seed=seed, news_every=0)
        for seed in (1, 2)
    ]
    market_arrays = make_market_arrays(markets, SETTINGS)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((*market_arrays.returns.shape, len(INSTRUMENT_FEATURES)))
    features[rng.random(features.shape) < 0.1] = np.nan
    macro = rng.standard_normal((*market_arrays.ts_close.shape, len(MACRO_FEATURES))).astype(
        np.float32
    )
    return bare_dataset(market_arrays, features, GROUP, ("G0", "G1"), name="equity", macro=macro)


def make(dataset: Dataset, batch: int, *, seed: int = 0, goals=None, her=HER) -> GoalMarket:
    return GoalMarket(
        dataset,
        SETTINGS,
        her,
        [Window(0, 5, 39), Window(1, 5, 39)],
        batch=batch,
        seed=seed,
        goals=goals,
    )


def test_the_reward_is_the_squared_distance_to_the_goal_and_the_net_return(dataset):
    market = make(dataset, 4)
    market.reset()
    action = np.random.default_rng(2).uniform(-1.0, 1.0, (4, len(GROUP)))
    seen, reward, _, net = market.step(action)
    apart = seen["achieved_goal"].astype(float) - seen["desired_goal"].astype(float)
    np.testing.assert_allclose(reward, 3.0 * (-(apart**2).sum(axis=1) + 2.0 * net), rtol=1e-12)
    held = market.twin.weights
    sums = np.column_stack([held[:, g == GROUP].sum(axis=1) for g in (0, 1)])
    np.testing.assert_allclose(seen["achieved_goal"], sums, rtol=1e-6)


def fill(dataset: Dataset, goals: int = 4) -> HerReplayBuffer:
    """Return a replay buffer of two whole episodes of each of three environments."""
    env = GoalVecEnv(make(dataset, 3))
    buffer = HerReplayBuffer(
        100,
        env.observation_space,
        env.action_space,
        env,
        device="cpu",
        n_envs=3,
        n_sampled_goal=goals,
        copy_info_dict=True,
    )
    rng = np.random.default_rng(3)
    seen = env.reset()
    for _ in range(2 * HER.episode_sessions):
        action = rng.uniform(-1.0, 1.0, (3, len(GROUP))).astype(np.float32)
        after, reward, done, infos = env.step(action)
        last = {key: value.copy() for key, value in after.items()}
        for i in np.flatnonzero(done):
            for key in last:
                last[key][i] = infos[i]["terminal_observation"][key]
        buffer.add(seen, last, action, reward, done, infos)
        seen = after
    return buffer


def test_hindsight_changes_the_goal_term_and_nothing_else_of_a_reward(dataset):
    buffer = fill(dataset)
    np.random.seed(0)  # noqa: NPY002 - the replay buffer draws from it
    rows, envs = np.repeat(np.arange(12), 3), np.tile(np.arange(3), 12)
    relabelled = buffer._get_virtual_samples(rows, envs)
    achieved = buffer.next_observations["achieved_goal"][rows, envs].astype(float)
    before = buffer.observations["desired_goal"][rows, envs].astype(float)
    after = relabelled.observations["desired_goal"].numpy().astype(float)
    goal_term = -3.0 * (((achieved - after) ** 2) - ((achieved - before) ** 2)).sum(axis=1)
    difference = relabelled.rewards.numpy()[:, 0] - buffer.rewards[rows, envs]
    assert np.abs(after - before).max() > 0.05
    np.testing.assert_allclose(difference, goal_term, atol=1e-6)
    torch.testing.assert_close(
        relabelled.next_observations["desired_goal"], relabelled.observations["desired_goal"]
    )


def test_a_goal_put_in_hindsight_was_reached_later_in_the_same_episode(dataset):
    buffer = fill(dataset)
    np.random.seed(1)  # noqa: NPY002 - the replay buffer draws from it
    rows, envs = np.repeat(np.arange(12), 3), np.tile(np.arange(3), 12)
    goals = buffer._get_virtual_samples(rows, envs).observations["desired_goal"].numpy()
    for row, env, goal in zip(rows, envs, goals, strict=True):
        end = HER.episode_sessions * (1 + row // HER.episode_sessions)
        later = buffer.next_observations["achieved_goal"][row:end, env]
        assert (later == goal).all(axis=1).any()


def test_an_episode_that_ran_out_is_truncated_and_not_terminated(dataset):
    buffer = fill(dataset)
    ends = np.arange(1, 13) % HER.episode_sessions == 0
    assert (buffer.dones.astype(bool)[:12] == ends[:, None]).all()
    assert (buffer.timeouts[:12] == buffer.dones[:12]).all()


def test_goals_are_the_top_policys_where_it_sets_them_and_never_beyond_the_limits(dataset):
    table = np.full((2, 40, 2), 0.5)
    her = HerSettings(episode_sessions=6, top_goal_frac=1.0)
    market = make(dataset, 5, goals=table, her=her)
    market.reset()
    np.testing.assert_allclose(market.desired, np.tile([2, 3], (5, 1)) * POSITION_UNIT)
    random = make(dataset, 200)
    random.reset()
    assert (random.desired >= 0.0).all()
    assert (random.desired <= random.goals.most + 1e-12).all()
    assert random.desired.std(axis=0).min() > 0.01


def test_the_macro_policys_goals_are_the_budgets_that_it_shares_when_it_trades(dataset, tmp_path):
    torch.manual_seed(0)
    net = TopNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS))
    torch.nn.init.normal_(net.head.weight)
    norm = Normaliser.fit(dataset.features, dataset.macro)
    card = PolicyCard(
        kind="top",
        book="equity",
        name="macro",
        groups=dataset.groups,
        hidden=HIDDEN,
        normaliser=norm,
        trained=TrainingRecord(source="made", digest="made", first_ts=0, last_ts=1),
    )
    save_policy(tmp_path / "top", net, card)
    table = goal_table(dataset, tmp_path / "top", SETTINGS)
    empty = np.zeros(len(GROUP))
    for session in (0, 7, 39):
        seen = observe(
            dataset.features[1, session],
            dataset.macro[1, session],
            empty,
            dataset.shortable,
            empty,
            np.float64(0.0),
            norm,
        )
        rows = group_means(seen.instruments, GROUP.tolist(), 2)
        with torch.no_grad():
            means, _ = net(torch.from_numpy(rows[None]), torch.from_numpy(seen.market[None]))
        gross = SETTINGS.limits.max_gross * SETTINGS.limits.headroom
        np.testing.assert_allclose(
            table[1, session], top_budgets(means[0].numpy(), gross), atol=1e-6
        )
    assert table.std(axis=(0, 1)).min() > 0.0
    with pytest.raises(ConfigError, match="expected a macro policy of A, B, was 'macro'"):
        goal_table(replace(dataset, groups=("A", "B")), tmp_path / "top", SETTINGS)


def test_positions_that_meet_their_goal_are_what_trading_places():
    rng = np.random.default_rng(4)
    action = rng.uniform(-1.0, 1.0, 20)
    weights = positions(action, 1.0)
    budget = weights.sum()
    assert POSITION_UNIT <= budget <= 1.0
    np.testing.assert_allclose(
        budget * bottom_shares(action, np.zeros(20, dtype=np.bool_)), weights, rtol=1e-12
    )


def test_positions_are_scaled_into_the_gross_limit():
    assert positions(np.ones((2, 40)), 0.95).sum(axis=1) == pytest.approx([0.95, 0.95])
    assert positions(np.full((2, 40), -3.0), 0.95).sum() == 0.0


def test_a_policy_sees_in_training_what_it_sees_when_it_trades(dataset):
    norm = Normaliser.fit(dataset.features, dataset.macro)
    market = make(dataset, 4)
    market.reset()
    seen = market.step(np.random.default_rng(5).uniform(-1.0, 1.0, (4, len(GROUP))))[0]
    instruments, around = SessionInputs(dataset, norm)(
        {key: torch.from_numpy(value) for key, value in seen.items()}
    )
    twin = market.twin
    expected = observe(
        dataset.features[twin.market, twin.t],
        dataset.macro[twin.market, twin.t],
        twin.weights,
        dataset.shortable,
        market.desired[:, GROUP],
        twin.drawdown,
        norm,
    )
    np.testing.assert_allclose(instruments.numpy(), expected.instruments, atol=1e-6)
    np.testing.assert_allclose(around.numpy(), expected.market, atol=1e-6)


def test_the_micro_network_is_asked_sector_by_sector():
    torch.manual_seed(0)
    net = BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS))
    rows, around = torch.randn(3, 5, net.encoder.rows), torch.randn(3, net.encoder.market)
    means = SectorBottom(net, GROUP)(rows, around)
    for g in (0, 1):
        torch.testing.assert_close(means[:, g == GROUP], net(rows[:, g == GROUP], around))
    shares = SectorBottom(net, GROUP).shares(100.0 * means).detach().numpy()
    for g in (0, 1):
        own = (100.0 * means[:, g == GROUP]).detach().numpy()
        np.testing.assert_allclose(
            shares[:, g == GROUP], bottom_shares(own, np.zeros(own.shape[1], bool)), rtol=1e-5
        )


def test_the_value_of_a_book_does_not_depend_on_the_order_of_its_stocks():
    torch.manual_seed(0)
    value = SectorValue(GROUP, 16)
    rows, around = torch.randn(3, 5, len(INSTRUMENT_INPUTS)), torch.randn(3, len(MARKET_INPUTS))
    goal, action = torch.rand(3, 2), torch.rand(3, 5)
    swapped = [1, 0, 4, 2, 3]  # within their sectors
    torch.testing.assert_close(
        value(rows, around, goal, action),
        value(rows[:, swapped], around, goal, action[:, swapped]),
    )


def test_an_action_beyond_its_bound_can_come_back():
    means = torch.tensor([2.0, 2.0, -2.0, -2.0, 0.5], requires_grad=True)
    slope = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0])  # descending: in, out, in, out, free
    (bounded(means) * slope).sum().backward()
    assert means.grad.tolist() == [1.0, 0.0, -1.0, 0.0, 1.0]
