"""
The micro policy's learner: stable-baselines3's TD3 with a hindsight replay buffer.

Exploration noise has a part that a sector's stocks share, for independent noises hardly move a
sum, and the goal is about sums. The replay buffer keeps no features (`learning.envs.goal_env`),
so `buffer_state` puts all of it into a checkpoint. This module knows no validation and no folder.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from agents.allocator.networks import BottomNet
from config.allocator import HerSettings
from config.errors import ConfigError
from learning.allocator.training.equity.td3_policy import SessionInputs, StockActor, StockPolicy
from learning.envs.goal_env import GoalMarket, GoalVecEnv

BUFFER_ARRAYS = ("actions", "rewards", "dones", "timeouts", "ep_start", "ep_length")


class SectorNoise(VectorizedActionNoise):
    """Gaussian noise of actions, half of its variance common to a sector's stocks."""

    def __init__(
        self, group: NDArray[np.int64], envs: int, deviation: float, rng: np.random.Generator
    ) -> None:
        super().__init__(NormalActionNoise(np.zeros(len(group)), np.ones(len(group))), envs)
        self._group, self._deviation, self.rng = group, deviation, rng

    def __call__(self) -> NDArray[np.float64]:
        """Return noise. Shape: (B, N)."""
        common = self.rng.normal(size=(self.n_envs, int(self._group.max()) + 1))
        own = self.rng.normal(size=(self.n_envs, len(self._group)))
        scale = self._deviation / np.sqrt(2.0)
        return np.asarray(scale * (common[:, self._group] + own))


class MicroTD3(TD3):
    """TD3 that names what is its own here, and knows how long its updates took."""

    noise: SectorNoise
    goal_env: GoalVecEnv
    update_seconds = 0.0

    @property
    def stocks(self) -> StockActor:
        """The actor."""
        actor: Any = self.actor
        assert isinstance(actor, StockActor)
        return actor

    @property
    def net(self) -> BottomNet:
        """The network that trades."""
        return self.stocks.bottom.net

    @property
    def hindsight(self) -> HerReplayBuffer:
        """The replay buffer."""
        assert isinstance(self.replay_buffer, HerReplayBuffer)
        return self.replay_buffer

    def start_from(self, net: BottomNet) -> None:
        """Take a network's weights into the actor and its target."""
        target: Any = self.actor_target
        self.net.load_state_dict(net.state_dict())
        target.bottom.net.load_state_dict(net.state_dict())

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update, and add up the time."""
        started = time.perf_counter()
        super().train(gradient_steps, batch_size)
        self.update_seconds += time.perf_counter() - started


def make_model(
    market: GoalMarket, inputs: SessionInputs, settings: HerSettings, seed: int
) -> MicroTD3:
    """
    Return the untrained learner.

    Raises ConfigError where updates would begin before an episode has ended.
    """
    least = market.sampler.sessions * market.batch
    if settings.learning_starts < least:
        raise ConfigError(
            f"her.learning_starts: expected at least {least} steps, the first episode of each "
            f"environment, was {settings.learning_starts}"
        )
    group = inputs.group.numpy()
    noise = SectorNoise(
        group, market.batch, settings.exploration_noise, np.random.default_rng([seed, 1])
    )
    env = GoalVecEnv(market)
    model = MicroTD3(
        StockPolicy,
        env,
        learning_rate=settings.learning_rate,
        buffer_size=settings.buffer_size,
        learning_starts=settings.learning_starts,
        batch_size=settings.batch_size,
        tau=settings.tau,
        gamma=settings.gamma,
        train_freq=settings.train_every,
        gradient_steps=settings.gradient_steps,
        action_noise=noise,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={
            "n_sampled_goal": settings.hindsight_goals,
            "goal_selection_strategy": "future",
            "copy_info_dict": True,  # compute_reward finds the net return there
        },
        policy_delay=settings.policy_delay,
        target_policy_noise=settings.target_noise,
        target_noise_clip=settings.target_noise_clip,
        policy_kwargs={"inputs": inputs, "group": group, "critic_hidden": settings.critic_hidden},
        seed=seed,
        device="cpu",
    )
    model.noise, model.goal_env = noise, env
    return model


def buffer_state(buffer: HerReplayBuffer) -> dict[str, Any]:
    """Return what a replay buffer holds; rows that were never written are left out."""
    rows = buffer.buffer_size if buffer.full else buffer.pos
    return {
        "rows": rows,
        "pos": buffer.pos,
        "episode_starts": buffer._current_ep_start.copy(),
        "observations": {k: v[:rows] for k, v in buffer.observations.items()},
        "next_observations": {k: v[:rows] for k, v in buffer.next_observations.items()},
        "net_returns": np.array(
            [[info["net_return"] for info in infos] for infos in buffer.infos[:rows]]
        ),
        **{name: getattr(buffer, name)[:rows] for name in BUFFER_ARRAYS},
    }


def restore_buffer(buffer: HerReplayBuffer, state: Mapping[str, Any]) -> None:
    """Put back what `buffer_state` returned, into a buffer of the same size."""
    rows = state["rows"]
    buffer.pos, buffer.full = state["pos"], rows == buffer.buffer_size
    buffer._current_ep_start = state["episode_starts"].copy()
    for key in buffer.observations:
        buffer.observations[key][:rows] = state["observations"][key]
        buffer.next_observations[key][:rows] = state["next_observations"][key]
    for name in BUFFER_ARRAYS:
        getattr(buffer, name)[:rows] = state[name]
    for row, values in enumerate(state["net_returns"].tolist()):
        buffer.infos[row] = [{"net_return": value} for value in values]
