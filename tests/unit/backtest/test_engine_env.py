"""The engine's environment: what Gymnasium and stable-baselines3 ask, and that it is the desk."""

import dataclasses
import warnings

import msgspec
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS, Normaliser
from backtest.engine.engine_env import EngineEnv, Episodes
from backtest.engine.stepped_book import EngineBook
from config.errors import DataError
from config.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    from stable_baselines3.common.env_checker import check_env as check_for_sb3


@pytest.fixture
def env(make_market):
    settings = Settings()
    limits = msgspec.structs.replace(settings.limits, min_history=5)
    env = EngineEnv(
        make_market(sessions=60, symbols=("AAA", "BBB")),
        msgspec.structs.replace(settings, limits=limits),
        Normaliser.fit(np.zeros((1, 22)), np.zeros((1, 18))),
        lambda growth, *rest: np.log1p(growth),
        Episodes(starts=range(30, 40), sessions=8, budget=(0.1, 0.4)),
    )
    yield env
    env.close()


def test_gymnasium_and_stable_baselines3_accept_it(env):
    check_env(env, skip_render_check=True)
    check_for_sb3(env)


def test_an_episode_ends_after_its_sessions_and_leaves_no_engine(env):
    env.reset(seed=5)
    steps, over = 0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(np.ones(2, np.float32))
        assert reward == pytest.approx(np.log1p(info["growth"]))
        over = terminated or truncated
        steps += 1
    assert (steps, truncated) == (8, True)
    assert info["equity"] != 100_000.0
    env.close()
    assert EngineBook._open is None


def test_an_episode_in_the_middle_gives_way_to_the_next(env):
    first, _ = env.reset(seed=5)
    env.step(np.ones(2, np.float32))
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(first, again)


def test_the_observation_shows_the_weights_that_the_desk_holds(env):
    env.reset(seed=5)
    seen, *_ = env.step(np.array([1.0, -1.0], np.float32))
    rows = seen[: 2 * len(INSTRUMENT_INPUTS)].reshape(2, -1)
    held = rows[:, INSTRUMENT_INPUTS.index("weight")]
    assert held[0] > 0
    assert held[1] == 0
    assert seen.shape == (2 * len(INSTRUMENT_INPUTS) + len(MARKET_INPUTS),)


def test_episodes_that_do_not_fit_are_refused(make_market):
    norm = Normaliser.fit(np.zeros((1, 22)), np.zeros((1, 18)))
    with pytest.raises(DataError, match=r"expected episodes of 50 sessions to start in 0\.\.9"):
        EngineEnv(
            make_market(sessions=60),
            Settings(),
            norm,
            lambda growth, *rest: growth,
            Episodes(starts=(20,), sessions=50, budget=(0.1, 0.4)),
        )


@pytest.fixture
def late(make_market):
    """Return an environment in which BBB has its first bar at session 34."""
    market = make_market(sessions=60, symbols=("AAA", "BBB"))
    early = market.bars["ts_close"] < market.session_closes[34]
    bars = market.bars[~(early & (market.bars["symbol"] == "BBB"))].reset_index(drop=True)
    limits = msgspec.structs.replace(Settings().limits, min_history=2, max_position=1.0)
    env = EngineEnv(
        dataclasses.replace(market, bars=bars),
        Settings(limits=limits),
        Normaliser.fit(np.zeros((1, 22)), np.zeros((1, 18))),
        lambda growth, *rest: np.log1p(growth),
        Episodes(starts=(30,), sessions=12, budget=(0.3, 0.3)),
    )
    yield env
    env.close()


def test_what_is_not_listed_is_masked_and_its_action_has_no_effect(late):
    paths = []
    for unlisted in (-1.0, 1.0):
        seen, _ = late.reset(seed=5)
        path = []
        for t in range(30, 42):
            rows = seen[: 2 * len(INSTRUMENT_INPUTS)].reshape(2, -1)
            assert rows[1, :22].any() == (t >= 34)
            action = np.array([1.0, unlisted if t < 34 else 0.5], np.float32)
            seen, *_ = late.step(action)
            path.append(seen)
        paths.append(path)
    np.testing.assert_array_equal(*paths)
    weight = INSTRUMENT_INPUTS.index("weight")
    assert paths[0][0][weight] * 0.1 == pytest.approx(0.3, rel=0.05)  # all of the budget
    assert paths[0][-1][len(INSTRUMENT_INPUTS) + weight] > 0
