"""
The micro policy's goal-conditioned environment: it places stocks so that sectors reach weights.

The goal is the G sector weights that the top policy wants, held for an episode; the book achieves
its sector weights at the session's close. Actions are positions, one a stock and independent of
the goal (`positions`), so that a transition stays true when hindsight puts another goal in its
place. The reward of a session is

    reward_scale · (−‖achieved − desired‖² + return_scale · (growth − risk-free))

of which `compute_reward` works out the goal term anew and takes the net return from `info`.

An observation names its market and session instead of carrying their features: a policy looks them
up (`learning.allocator.training.equity.td3_policy`). With 126 stocks a transition in a replay
buffer then takes 1.6 KB and not 25. It knows no learner; how targets become fills is the twin's.
Source: Andrychowicz et al. 2017, "Hindsight Experience Replay"; the goal interface is
gymnasium-robotics' and stable-baselines3's.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray
from config.allocator import EpisodeSettings, HerSettings
from config.settings import Settings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import EpisodeSampler, Window
from learning.envs.vec_env import BatchVecEnv
from learning.twin.twin import Twin

type Goals = dict[str, NDArray[np.float32]]

# Half of the default position limit. Trading places a group's budget B by `bottom_shares`;
# wherever B is at least this, positions that meet the goal are placed there as they are here.
POSITION_UNIT = 0.05
KEYS = 3  # market, session and drawdown, before the weights
WEIGHT_BOUND = 10.0


def positions(
    action: NDArray[np.floating[Any]], gross: float, listed: BoolArray | bool = True
) -> FloatArray:
    """
    Return target weights: -1..1 is nothing to `POSITION_UNIT`, and all is scaled into `gross`.

    What is not `listed` has none. Shapes: action (..., N), clipped to [-1, 1], listed (..., N)
    -> (..., N), long only.
    """
    signed = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
    weights = np.where(listed, POSITION_UNIT * 0.5 * (signed + 1.0), 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(weights * np.minimum(1.0, gross / np.maximum(total, 1e-12)), np.float64)


class GoalSampler:
    """
    Draws an episode's goal: the top policy's at its first session, or a random one.

    A random goal is a Dirichlet's shares of a gross drawn evenly from `gross_floor` to the
    limit, no sector beyond what its stocks can hold or the gate lets through; what is cut off is
    cash. `table` (M, T, G) holds what the top policy asks for; without one all goals are random.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        her: HerSettings,
        table: FloatArray | None = None,
    ) -> None:
        limits = settings.limits
        sizes = np.bincount(dataset.group, minlength=len(dataset.groups))
        self.gross = limits.max_gross * limits.headroom
        self.most = np.minimum(limits.max_group * limits.headroom, sizes * POSITION_UNIT)
        self._floor, self._top_frac, self._table = her.gross_floor, her.top_goal_frac, table

    def draw(
        self, market: NDArray[np.int64], session: NDArray[np.int64], rng: np.random.Generator
    ) -> FloatArray:
        """Return goals, fractions of equity. Shapes: market, session (B,) -> (B, G)."""
        count = len(market)
        shares = rng.dirichlet(np.ones(len(self.most)), size=count)
        gross = self.gross * rng.uniform(self._floor, 1.0, (count, 1))
        goals: FloatArray = np.minimum(shares * gross, self.most)
        from_top = rng.random(count) < self._top_frac
        if self._table is not None:
            wanted = np.minimum(self._table[market, session], self.most)
            goals = np.where(from_top[:, None], wanted, goals)
        return goals


class GoalMarket:
    """
    B goal-conditioned episodes over the twin, in lockstep; a finished one starts again.

    Shapes of an observation: "observation" (B, 3 + N) of market, session, drawdown and the
    book's weights; "achieved_goal" and "desired_goal" (B, G); all float32. An episode is
    truncated after `her.episode_sessions`; none ends before. `sums` adds up what progress
    reports, since whoever reads it last emptied it.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        her: HerSettings,
        windows: Sequence[Window],
        *,
        batch: int,
        seed: int,
        goals: FloatArray | None = None,
    ) -> None:
        episode = EpisodeSettings(sessions=her.episode_sessions)
        self.dataset, self.batch, self.her = dataset, batch, her
        self.sampler = EpisodeSampler(windows, episode)
        self.goals = GoalSampler(dataset, settings, her, goals)
        self.twin = Twin(dataset.market_arrays, settings, batch)
        self.rng = np.random.default_rng(seed)
        self.desired = np.zeros((batch, len(dataset.groups)))
        self.elapsed = np.zeros(batch, dtype=np.int64)
        self.sums: dict[str, float] = {}
        self._member = np.eye(len(dataset.groups))[dataset.group]  # (N, G)
        markets, sessions = dataset.ts.shape
        stocks, groups = self._member.shape
        low = np.array([0.0, 0.0, 0.0] + [-WEIGHT_BOUND] * stocks, dtype=np.float32)
        high = np.array([markets, sessions, 1.0] + [WEIGHT_BOUND] * stocks, dtype=np.float32)
        goal = spaces.Box(-WEIGHT_BOUND, WEIGHT_BOUND, (groups,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "observation": spaces.Box(low, high, dtype=np.float32),
                "achieved_goal": goal,
                "desired_goal": goal,
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (stocks,), np.float32)

    def reset(self, where: BoolArray | None = None) -> Goals:
        """Start episodes anew, all or `where`, with fresh accounts; return all observations."""
        market, session = self.sampler.draw(self.batch, self.rng)
        seed = int(self.rng.integers(2**31))
        self.twin.reset(market, session, seed, where=where)  # None: the slippage starts anew too
        drawn = self.goals.draw(market, session, self.rng)
        where = np.ones(self.batch, dtype=np.bool_) if where is None else where
        self.desired = np.where(where[:, None], drawn, self.desired)
        self.elapsed = np.where(where, 0, self.elapsed)
        return self.observe()

    def observe(self) -> Goals:
        """Return what each episode looks like now."""
        twin = self.twin
        keys = np.column_stack([twin.market, twin.t, twin.drawdown])
        return {
            "observation": np.concatenate([keys, twin.weights], axis=1).astype(np.float32),
            "achieved_goal": (twin.weights @ self._member).astype(np.float32),
            "desired_goal": self.desired.astype(np.float32),
        }

    def step(
        self, action: NDArray[np.floating[Any]]
    ) -> tuple[Goals, FloatArray, BoolArray, FloatArray]:
        """
        Live one session; return observations, rewards, truncated and net returns, each (B, ...).

        The observations of truncated rows are their last; `reset` starts them again.
        """
        lived = self.twin.step(positions(action, self.goals.gross, self.twin.listed))
        net = lived.growth - lived.risk_free
        seen = self.observe()
        reward = self.reward(seen["achieved_goal"], seen["desired_goal"], net)
        self.elapsed = self.elapsed + 1
        distance = np.linalg.norm(seen["achieved_goal"] - seen["desired_goal"], axis=1)
        for name, value in {
            "sessions": np.ones(self.batch),
            "reward": reward,
            "goal_distance": distance,
            "net_return": net,
            "limited": lived.limited,
            "turnover": lived.turnover,
        }.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.sum())
        return seen, reward, self.elapsed >= self.sampler.sessions, net

    def reward(
        self, achieved: NDArray[Any], desired: NDArray[Any], net: NDArray[Any]
    ) -> FloatArray:
        """Return rewards. Shapes: achieved and desired (..., G), net (...) -> (...)."""
        apart = np.asarray(achieved, dtype=np.float64) - np.asarray(desired, dtype=np.float64)
        goal = -np.square(apart).sum(axis=-1)
        return np.asarray(self.her.reward_scale * (goal + self.her.return_scale * net))

    def means(self) -> dict[str, float]:
        """Return the means a session since the last call, and start them again."""
        sums, self.sums = self.sums, {}
        sessions = max(sums.pop("sessions", 0.0), 1.0)
        return {name: value / sessions for name, value in sums.items()}

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, for a checkpoint."""
        return {
            "twin": self.twin.state(),
            "rng": self.rng.bit_generator.state,
            "desired": self.desired.copy(),
            "elapsed": self.elapsed.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, bit for bit."""
        self.twin.restore(state["twin"])
        self.rng.bit_generator.state = state["rng"]
        self.desired, self.elapsed = state["desired"].copy(), state["elapsed"].copy()


class GoalVecEnv(BatchVecEnv):
    """A `GoalMarket` as stable-baselines3 takes it, without a process or a copy an episode."""

    def __init__(self, market: GoalMarket) -> None:
        self.goal_market = market
        super().__init__(market.batch, market.observation_space, market.action_space)

    def reset(self) -> Goals:
        """Start all episodes anew."""
        return self.goal_market.reset()

    def step_wait(self) -> tuple[Goals, NDArray[np.float32], BoolArray, list[dict[str, Any]]]:
        """Live one session; a finished episode's last observation goes into its info."""
        started = time.perf_counter()
        seen, reward, truncated, net = self.goal_market.step(self._actions)
        infos: list[dict[str, Any]] = [{"net_return": value} for value in net.tolist()]
        if truncated.any():
            for b in np.flatnonzero(truncated).tolist():
                last = {key: value[b] for key, value in seen.items()}
                infos[b] |= {"terminal_observation": last, "TimeLimit.truncated": True}
            seen = self.goal_market.reset(truncated)
        self.seconds += time.perf_counter() - started
        return seen, reward.astype(np.float32), truncated, infos

    def compute_reward(
        self, achieved: NDArray[Any], desired: NDArray[Any], infos: Sequence[Mapping[str, Any]]
    ) -> FloatArray:
        """Return the rewards that stored transitions have under other goals."""
        net = np.array([info["net_return"] for info in infos], dtype=np.float64)
        return self.goal_market.reward(achieved, desired, net)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method once for the whole batch; one answer for each episode named."""
        answer = getattr(self, method_name)(*method_args, **method_kwargs)
        return [answer for _ in self._get_indices(indices)]
