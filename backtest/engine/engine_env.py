"""
A Gymnasium environment over the real desk in the real engine: the specialist's.

An episode is a new engine run from a drawn session on; a step is a session. What is observed comes
from the case as a trained policy reads it, the account from the desk itself, and actions become
weights by the transform of `agents.allocator.observation`. It has the spaces and the rules of
`learning.envs.environments.SpecialistEnvironment` at the engine's speed: what the twin trained is
checked here. An instrument that the case does not hold, since it is not listed, is masked whole,
and what is asked of it has no effect; a ruined book sees nothing any more. The
caller gives the function that rewards a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import msgspec
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    bottom_shares,
    flatten,
    observe,
)
from agents.allocator.trained import case_arrays
from agents.arrays import Float32Array, FloatArray
from agents.features.batch import INSTRUMENT_FEATURES
from backtest.engine.feed import make_feed
from backtest.engine.stepped_book import Close, EngineBook
from backtest.market.market_data import MarketData
from config.errors import DataError
from config.settings import Settings

BOUND = 100.0  # of an observation: features are cut at 5, weights are tens of units at most
RUIN = 0.5  # of the starting equity: an episode that has less is over
GROSS_INPUT = MARKET_INPUTS.index("gross")


class SessionReward(Protocol):
    """The reward of a session; arrays of one book, as `learning.rewards.policy_reward.Reward`."""

    def __call__(
        self,
        growth: FloatArray,
        risk_free: FloatArray,
        weights: FloatArray,
        budget: FloatArray,
        drawdown: FloatArray,
        before: FloatArray,
    ) -> FloatArray:
        """Return the reward (1,) of growth (1,), weights (1, N) and so on."""
        ...


@dataclass(frozen=True)
class Episodes:
    """
    Which episodes are lived.

    `starts` are the sessions at whose close one may begin, `sessions` is its length, `budget`
    the least and most of equity that the specialist may place.
    """

    starts: Sequence[int]
    sessions: int
    budget: tuple[float, float]


class EngineEnv(gymnasium.Env[Float32Array, NDArray[np.float32]]):
    """
    A specialist's environment in the engine; all of the market's instruments are its own.

    Observation (n * I + C,), action (n,) in [-1, 1]. An episode is truncated after its sessions
    and terminated when half of its starting equity is gone. `info` holds what the session did:
    growth, risk_free, fees, turnover, equity, balance.

    Raises DataError where an episode does not fit into the market, RuntimeError where another
    engine is open in this process, RunIncomplete where the engine logged an error.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        market: MarketData,
        settings: Settings,
        norm: Normaliser,
        reward: SessionReward,
        episodes: Episodes,
    ) -> None:
        most = len(market.session_closes) - 1 - episodes.sessions
        if not episodes.starts or not 0 <= min(episodes.starts) <= max(episodes.starts) <= most:
            raise DataError(
                f"expected episodes of {episodes.sessions} sessions to start in 0..{most} "
                f"of {market.name}, was {list(episodes.starts)[:5]}"
            )
        n = len(market.instruments)
        size = n * len(INSTRUMENT_INPUTS) + len(MARKET_INPUTS)
        self.observation_space = spaces.Box(-BOUND, BOUND, (size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (n,), np.float32)
        self._market, self._settings, self._episodes = market, settings, episodes
        self._norm, self._reward = norm, reward
        self._shortable = np.array([i.shortable for i in market.instruments], dtype=bool)
        self._place = {symbol: i for i, symbol in enumerate(market.symbols)}
        self._listed = np.zeros(n, dtype=bool)
        self._feed = make_feed(market, settings.market, 0)
        self._gross = settings.limits.max_gross * settings.limits.headroom
        self._book: EngineBook | None = None
        self._budget = self._elsewhere = 0.0
        self._lived = 0
        self._at: Close | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """End the episode that runs, if any, and start another in an engine of its own."""
        super().reset(seed=seed)
        self.close()
        rng = self.np_random
        start = int(rng.choice(np.asarray(self._episodes.starts)))
        slippage = int(rng.integers(2**31))
        self._budget = float(rng.uniform(*self._episodes.budget))
        self._elsewhere = float(rng.uniform(0.0, 1.0)) * max(self._gross - self._budget, 0.0)
        self._lived = 0
        self._book = EngineBook(
            self._market,
            msgspec.structs.replace(self._settings, seed=slippage),
            start=start,
            feed=self._feed,
            features=True,
        )
        self._at = self._book.start()
        return self._observe(self._at), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Live one session with the weights that an action asks for."""
        if self._book is None or self._at is None:
            raise RuntimeError("expected a reset before a step, was none")
        before = self._at
        asked = np.asarray(action, dtype=np.float64)
        shares = bottom_shares(asked, self._shortable, self._listed)
        now = self._at = self._book.step(self._budget * shares)
        self._lived += 1
        growth = now.equity / before.equity - 1.0
        one = np.ones(1)
        reward = self._reward(
            one * growth,
            one * now.risk_free,
            now.weights[None],
            one * self._budget,
            one * now.drawdown,
            one * before.drawdown,
        )
        terminated = now.equity < RUIN * self._settings.market.starting_cash
        truncated = not terminated and self._lived >= self._episodes.sessions
        if terminated or truncated:
            self._book.check()
        info = {
            "growth": growth,
            "risk_free": now.risk_free,
            "fees": now.fees,
            "turnover": now.turnover,
            "equity": now.equity,
            "balance": now.balance,
        }
        return self._observe(now), float(reward[0]), terminated, truncated, info

    def close(self) -> None:
        """End the episode and dispose of its engine."""
        if self._book is not None:
            self._book.close()
            self._book = self._at = None

    def _observe(self, close: Close) -> Float32Array:
        self._listed = np.zeros(len(self._shortable), dtype=bool)
        if close.case is None:
            return np.zeros(self.observation_space.shape or (), dtype=np.float32)
        case = case_arrays(close.case)
        features = np.full((len(self._shortable), len(INSTRUMENT_FEATURES)), np.nan)
        weights = np.zeros(len(self._shortable))
        for k, symbol in enumerate(case.symbols):
            i = self._place[symbol]
            self._listed[i], features[i], weights[i] = True, case.features[k], case.weights[k]
        seen = observe(
            features,
            case.macro,
            weights,
            self._shortable,
            np.full(len(self._shortable), self._budget),
            np.float64(case.drawdown),
            self._norm,
        )
        seen.market[GROSS_INPUT] += self._elsewhere
        return flatten(seen)
