"""
The three training environments over the twin: specialist, portfolio and joint.

An environment turns actions into target weights and books into observations and rewards; B
episodes go in lockstep, and a finished one starts again inside the batch. They differ in who acts:

    specialist   one group's policy places a budget on its instruments; nothing else is held
    portfolio    the top shares capital among groups; frozen bottom policies place each budget
    joint        both act: the bottom actions for all N instruments, then the top's for G groups

A step is a session as the desk lives it (see `twin`). An episode is truncated after the
sampler's number of sessions and terminated when half of its starting equity is gone (`RUIN`).

The books of a cohort live the same sessions, and each is paid what it earned beyond the mean of
its peers. Most of a session's result is the market's, which no action moves; what the others
earned on the same path tells how much, and is independent of a book's own exploration, so the
policy's gradient keeps its mean and loses most of its variance. A cohort ends as one. Source: the
leave-one-out baseline of Kool et al. 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!",
step by step, over common random numbers.

Policies see here what `agents.allocator.trained` shows them: the market's row holds the whole
book's gross and drawdown, and a top policy sees each group's mean inputs with budget 0. What is
not listed (`Twin.listed`) is masked whole and its action has no effect: a case does not hold it.

It knows no learner; how targets become fills is the twin's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    Observation,
    assemble,
    bottom_shares,
    flatten,
    group_means,
    top_budgets,
)
from agents.arrays import BoolArray, Float32Array, FloatArray
from config.allocator import EpisodeSettings, RewardSettings
from config.errors import ConfigError
from config.settings import Settings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import EpisodeSampler, Window
from learning.envs.bottom_policies import BottomPolicies
from learning.rewards.policy_reward import Reward, reference_volatility
from learning.twin.twin import Twin

type Actions = NDArray[np.floating[Any]]
type Info = dict[str, NDArray[Any]]
type EnvironmentStep = tuple[Float32Array, FloatArray, BoolArray, BoolArray, Info]

RUIN = 0.5  # of the starting equity: an episode that has less is over
GROSS_INPUT = MARKET_INPUTS.index("gross")


@dataclass(frozen=True)
class Arena:
    """
    What episodes are drawn from and rewarded by.

    Episodes start in `windows`; the normaliser is fitted on training windows alone, and
    `reference` are those windows: the reward's volatility is measured there.
    """

    dataset: Dataset
    windows: tuple[Window, ...]
    reference: tuple[Window, ...]
    norm: Normaliser
    settings: Settings
    reward: RewardSettings
    episode: EpisodeSettings


class Environment(ABC):
    """
    B episodes in lockstep over a twin; what the three environments share.

    Shapes: observations (B, observation_size) float32, actions (B, action_size) in [-1, 1].
    `info` holds arrays (B, ...): reward (as earned, peers aside), growth, risk_free, fees,
    turnover, limited, loss_beyond_limit, episode_return and episode_sessions (so far, the ended
    ones' in full), and terminal_observation (B, D), the last one of each row that ended,
    0 elsewhere.
    Raises ConfigError for a batch that is not in whole cohorts; a batch of one is its own.
    """

    action_size: int

    def __init__(self, arena: Arena, batch: int, seed: int) -> None:
        dataset, limits = arena.dataset, arena.settings.limits
        self.arena, self.batch = arena, batch
        self.cohort = arena.episode.cohort if batch > 1 else 1
        if batch % self.cohort:
            raise ConfigError(
                f"expected environments in whole cohorts of {self.cohort}, was {batch}"
            )
        self.rng = np.random.default_rng(seed)
        self.gross = limits.max_gross * limits.headroom
        self.twin = Twin(dataset.market_arrays, arena.settings, batch)
        self._features = arena.norm.features(dataset.features)
        self._macro = arena.norm.macro(dataset.macro)
        self._sampler = EpisodeSampler(arena.windows, arena.episode)
        self._reward = Reward(arena.reward, reference_volatility(dataset.returns, arena.reference))
        self._even = np.nan_to_num(dataset.returns).mean(axis=-1)
        self._ruin = RUIN * arena.settings.market.starting_cash
        self._stop = np.zeros(batch, dtype=np.int64)  # the session at whose close a row ends
        self._return = np.zeros(batch)
        self._sessions = np.zeros(batch, dtype=np.int64)
        self._budget = np.full(batch, self.gross)  # what the reward's risk is measured against

    @property
    def observation_size(self) -> int:
        """How many numbers an observation has."""
        return len(self.arena.dataset.symbols) * len(INSTRUMENT_INPUTS) + len(MARKET_INPUTS)

    def reset(self, where: BoolArray | None = None) -> Float32Array:
        """Start episodes anew, all or `where`; return all observations."""
        self._start(np.ones(self.batch, dtype=bool) if where is None else where)
        return self._observe()

    def step(self, actions: Actions) -> EnvironmentStep:
        """Live one session; return observations, rewards, terminated, truncated, info."""
        twin = self.twin
        before = twin.drawdown.copy()
        lived = twin.step(self._targets(np.asarray(actions, dtype=np.float64)))
        reward = self._reward(
            lived.growth,
            lived.risk_free,
            twin.weights,
            self._budget,
            twin.drawdown,
            before,
            self._even[twin.market, twin.t],
        )
        self._return += reward
        self._sessions += 1
        terminated = twin.equity < self._ruin
        over = self._whole_cohorts(terminated | (twin.t >= self._stop))
        truncated = over & ~terminated
        observation = self._observe()
        info: Info = {
            "reward": reward,
            "growth": lived.growth,
            "risk_free": lived.risk_free,
            "fees": lived.fees,
            "turnover": lived.turnover,
            "limited": lived.limited,
            "loss_beyond_limit": lived.loss_beyond_limit,
            "episode_return": self._return.copy(),
            "episode_sessions": self._sessions.copy(),
        }
        info["terminal_observation"] = np.where(over[:, None], observation, np.float32(0.0))
        if over.any():
            self._start(over)
            observation = self._observe()
        return observation, self._against_peers(reward), terminated, truncated, info

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, for a checkpoint."""
        return {
            "twin": dict(self.twin.state()),
            "generator": self.rng.bit_generator.state,
            "stop": self._stop.copy(),
            "return": self._return.copy(),
            "sessions": self._sessions.copy(),
            "budget": self._budget.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, bit for bit."""
        self.twin.restore(state["twin"])
        self.rng.bit_generator.state = state["generator"]
        self._stop = state["stop"].copy()
        self._return = state["return"].copy()
        self._sessions = state["sessions"].copy()
        self._budget = state["budget"].copy()

    def _start(self, where: BoolArray) -> None:
        where = self._whole_cohorts(where)
        market, session = self.twin.market.copy(), self.twin.t.copy()
        drawn = self._sampler.draw(int(where.sum()) // self.cohort, self.rng)
        market[where], session[where] = (np.repeat(d, self.cohort) for d in drawn)
        seed = int(self.rng.integers(2**31))
        # slippage restarts from the seed only where all books do
        self.twin.reset(market, session, seed, where=None if where.all() else where)
        self._stop[where] = session[where] + self._sampler.sessions
        self._return[where], self._sessions[where] = 0.0, 0

    def _whole_cohorts(self, where: BoolArray) -> BoolArray:
        """Return all books of every cohort that has one of these: a cohort ends as one."""
        return np.repeat(where.reshape(-1, self.cohort).any(axis=1), self.cohort)

    def _against_peers(self, reward: FloatArray) -> FloatArray:
        """Return rewards less the mean of the cohort's others."""
        if self.cohort == 1:
            return reward
        own = reward.reshape(-1, self.cohort)
        others = (own.sum(axis=1, keepdims=True) - own) / (self.cohort - 1)
        return np.asarray((own - others).ravel())

    def _now(self) -> tuple[Float32Array, Float32Array]:
        """Return the present sessions' normalised features (B, N, 22) and macro (B, 18)."""
        at = self.twin.market, self.twin.t
        features = self._features[at]  # a copy
        features[~self.twin.listed] = 0.0
        return features, self._macro[at]

    def _weights(self) -> FloatArray:
        """Return the weights (B, N) of what is listed: what vanished is left at the next price."""
        return np.where(self.twin.listed, self.twin.weights, 0.0)

    def _seen(self, budgets: FloatArray) -> Observation:
        """Return what all instruments look like, budgets (B, N) of their groups."""
        features, macro = self._now()
        shortable, drawdown = self.arena.dataset.shortable, self.twin.drawdown
        return assemble(features, macro, self._weights(), shortable, budgets, drawdown)

    @abstractmethod
    def _observe(self) -> Float32Array:
        """Return what policies see of the present session."""

    @abstractmethod
    def _targets(self, actions: FloatArray) -> FloatArray:
        """Return the weights (B, N) that actions (B, action_size) ask for."""


class SpecialistEnvironment(Environment):
    """
    One group's instruments: observation n * I + C, action n.

    `arena.book` holds that group alone (`only_group`). Each episode draws its budget evenly from
    `budget` (least, most), fractions of equity, and how much of the remaining gross the rest of a
    book would hold: the policy learns to use the first and that the second tells it nothing.
    """

    def __init__(
        self, arena: Arena, batch: int, seed: int, *, budget: tuple[float, float]
    ) -> None:
        super().__init__(arena, batch, seed)
        self.action_size = len(arena.dataset.symbols)
        self._range = budget
        self._elsewhere = np.zeros(batch)

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, for a checkpoint."""
        return super().state() | {"elsewhere": self._elsewhere.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, bit for bit."""
        super().restore(state)
        self._elsewhere = state["elsewhere"].copy()

    def draw(self, rng: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
        """Return so many budgets, and what the rest of a book holds beside each."""
        budget = rng.uniform(*self._range, count)
        return budget, rng.uniform(0.0, 1.0, count) * np.maximum(self.gross - budget, 0.0)

    def _start(self, where: BoolArray) -> None:
        super()._start(where)
        where = self._whole_cohorts(where)
        budget, rest = self.draw(self.rng, int(where.sum()) // self.cohort)
        self._budget[where] = np.repeat(budget, self.cohort)
        self._elsewhere[where] = np.repeat(rest, self.cohort)

    def _observe(self) -> Float32Array:
        seen = self._seen(np.broadcast_to(self._budget[:, None], self.twin.weights.shape))
        seen.market[:, GROSS_INPUT] += self._elsewhere
        return flatten(seen)

    def _targets(self, actions: FloatArray) -> FloatArray:
        shares = bottom_shares(actions, self.arena.dataset.shortable, self.twin.listed)
        return self._budget[:, None] * shares


class PortfolioEnvironment(Environment):
    """
    The top's environment: observation G * D + C of group means, action G.

    `embeddings` (M, T, G, E), where there are any, stand after each group's inputs: D = I + E.
    """

    def __init__(
        self,
        arena: Arena,
        batch: int,
        seed: int,
        *,
        bottom_policies: BottomPolicies,
        embeddings: Float32Array | None = None,
    ) -> None:
        super().__init__(arena, batch, seed)
        self.action_size = len(arena.dataset.groups)
        self._bottom_policies, self._embeddings = bottom_policies, embeddings

    @property
    def observation_size(self) -> int:
        """How many numbers an observation has."""
        extra = 0 if self._embeddings is None else self._embeddings.shape[-1]
        return self.action_size * (len(INSTRUMENT_INPUTS) + extra) + len(MARKET_INPUTS)

    def _observe(self) -> Float32Array:
        seen = self._seen(np.zeros_like(self.twin.weights))
        groups = group_means(
            seen.instruments, self.arena.dataset.group, self.action_size, self.twin.listed
        )
        if self._embeddings is not None:
            now = self._embeddings[self.twin.market, self.twin.t]
            groups = np.concatenate([groups, now], axis=-1)
        return flatten(Observation(groups, seen.market))

    def _targets(self, actions: FloatArray) -> FloatArray:
        budgets = top_budgets(actions, self.gross)
        features, macro = self._now()
        twin, weights = self.twin, self._weights()
        return self._bottom_policies.place(
            features, macro, weights, twin.drawdown, budgets, twin.listed
        )


class JointEnvironment(Environment):
    """
    Both tiers: observation N * I + C with budgets 0, action N + G (instruments, then groups).

    A policy lets the top act first, on the groups' means, and puts its budgets into the rows
    before the bottom policies act. `gross` is what `top_budgets` shares. A `sampler` (of the
    curriculum) draws the episodes in place of the arena's own.
    """

    def __init__(
        self, arena: Arena, batch: int, seed: int, sampler: EpisodeSampler | None = None
    ) -> None:
        super().__init__(arena, batch, seed)
        self._sampler = sampler or self._sampler
        dataset = arena.dataset
        self._n = len(dataset.symbols)
        self.action_size = self._n + len(dataset.groups)
        self._members = [np.flatnonzero(dataset.group == g) for g in range(len(dataset.groups))]

    def _observe(self) -> Float32Array:
        return flatten(self._seen(np.zeros_like(self.twin.weights)))

    def _targets(self, actions: FloatArray) -> FloatArray:
        budgets = top_budgets(actions[:, self._n :], self.gross)
        weights = np.zeros((self.batch, self._n))
        shortable, listed = self.arena.dataset.shortable, self.twin.listed
        for g, members in enumerate(self._members):
            shares = bottom_shares(actions[:, members], shortable[members], listed[:, members])
            weights[:, members] = budgets[:, g : g + 1] * shares
        return weights
