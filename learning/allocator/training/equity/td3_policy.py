"""
TD3's networks for the micro policy, as stable-baselines3 takes them.

The actor is the bottom network that trades, asked sector by sector and cut to [-1, 1]. The critic
is a set function over stocks and then over sectors, so that it knows no order and its size does
not grow with the book: per stock an embedding of what the policy sees and what it does, pooled by
sector; per sector that, the weight that is asked for and the goal, pooled over the book. Sums by
sector come first because the goal is about them: a mean over all stocks would hide them.

Sources: Fujimoto et al. 2018 (TD3); Zaheer et al. 2017 (deep sets). It knows no environment but
the layout of its observations.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from agents.allocator.networks import BottomNet
from agents.allocator.observation import (
    BUDGET_UNIT,
    DRAWDOWN_UNIT,
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    WEIGHT_UNIT,
    Normaliser,
)
from learning.allocator.training.equity.micro import SectorBottom, bounded
from learning.datasets.dataset import Dataset
from learning.envs.goal_env import KEYS, POSITION_UNIT

ROWS, COLUMNS = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)


class SessionInputs:
    """
    What `observe` says of the sessions that observations name, as tensors.

    The goal comes in as the budgets of each stock's sector: a relabelled goal is seen as such.
    """

    def __init__(self, dataset: Dataset, norm: Normaliser) -> None:
        self.features = torch.from_numpy(norm.features(dataset.features))  # (M, T, N, 22)
        self.macro = torch.from_numpy(norm.macro(dataset.macro))  # (M, T, 18)
        self.shortable = torch.from_numpy(dataset.shortable.astype(np.float32))
        self.group = torch.tensor(dataset.group)

    def __call__(self, seen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return instruments (B, N, I) and market (B, C)."""
        keys, weights = seen["observation"][:, :KEYS], seen["observation"][:, KEYS:]
        market, session = keys[:, 0].long(), keys[:, 1].long()
        budgets = seen["desired_goal"][:, self.group]
        own = [weights / WEIGHT_UNIT, self.shortable.expand_as(weights), budgets / BUDGET_UNIT]
        instruments = torch.cat([self.features[market, session], torch.stack(own, -1)], dim=-1)
        drawdown = keys[:, 2:3] / DRAWDOWN_UNIT
        gross = weights.abs().sum(dim=1, keepdim=True)
        return instruments, torch.cat([self.macro[market, session], drawdown, gross], dim=-1)


class StockActor(BasePolicy):
    """The bottom network as TD3's actor: actions (B, N) in [-1, 1]."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        inputs: SessionInputs,
        group: NDArray[np.int64],
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=True)
        self.inputs = inputs
        self.bottom = SectorBottom(BottomNet(ROWS, COLUMNS), group)

    def forward(self, seen: PyTorchObs) -> Tensor:
        """Return the actions."""
        assert isinstance(seen, dict)
        return bounded(self.bottom(*self.inputs(seen)))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self(observation)
        return actions


class SectorValue(nn.Module):
    """One Q function; see the module for its shape."""

    def __init__(self, group: NDArray[np.int64], hidden: int) -> None:
        super().__init__()
        sizes = np.bincount(group)
        self.group = torch.tensor(group)
        self.sizes = torch.from_numpy(np.maximum(sizes, 1).astype(np.float32))[:, None]  # (G, 1)
        self.of_stock = nn.Linear(ROWS + 1, hidden)
        self.of_market = nn.Linear(COLUMNS, hidden)
        self.stock = nn.Linear(hidden, hidden)
        self.sector = nn.Sequential(
            nn.Linear(hidden + 2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.book = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, instruments: Tensor, market: Tensor, goal: Tensor, action: Tensor) -> Tensor:
        """Return Q. Shapes: (B, N, I), (B, C), (B, G), (B, N) -> (B, 1)."""
        around = self.of_market(market)  # (B, H)
        rows = torch.cat([instruments, action.unsqueeze(-1)], dim=-1)
        stocks = torch.relu(self.of_stock(rows) + around.unsqueeze(1))
        stocks = torch.relu(self.stock(stocks))  # (B, N, H)
        shape = (len(goal), len(self.sizes), stocks.shape[-1])
        pooled = stocks.new_zeros(shape).index_add(1, self.group, stocks) / self.sizes
        position = POSITION_UNIT * 0.5 * (action + 1.0)
        asked = torch.zeros_like(goal).index_add(1, self.group, position)  # (B, G)
        aims = torch.stack([asked, goal], dim=-1) / BUDGET_UNIT
        sectors = self.sector(torch.cat([pooled, aims], dim=-1)).mean(dim=1)
        value: Tensor = self.book(torch.cat([sectors, torch.relu(around)], dim=-1))
        return value


class StockCritic(BaseModel):
    """TD3's two Q functions."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        inputs: SessionInputs,
        group: NDArray[np.int64],
        hidden: int,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.inputs = inputs
        self.values = nn.ModuleList(SectorValue(group, hidden) for _ in range(2))

    def forward(self, seen: PyTorchObs, actions: Tensor) -> tuple[Tensor, ...]:
        """Return both values, (B, 1) each."""
        assert isinstance(seen, dict)
        inputs = self.inputs(seen)
        return tuple(value(*inputs, seen["desired_goal"], actions) for value in self.values)

    def q1_forward(self, seen: PyTorchObs, actions: Tensor) -> Tensor:
        """Return the first value alone, which is what the actor climbs."""
        assert isinstance(seen, dict)
        value: Tensor = self.values[0](*self.inputs(seen), seen["desired_goal"], actions)
        return value


class StockPolicy(TD3Policy):
    """TD3's policy of a `StockActor` and a `StockCritic`."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        inputs: SessionInputs,
        group: NDArray[np.int64],
        critic_hidden: int,
    ) -> None:
        self._inputs, self._group, self._critic_hidden = inputs, group, critic_hidden
        self._actions = action_space
        super().__init__(observation_space, action_space, lr_schedule)

    def make_actor(self, features_extractor: Any = None) -> Any:
        """Return an actor; TD3 asks for one and for its target."""
        return StockActor(self.observation_space, self._actions, self._inputs, self._group).to(
            self.device
        )

    def make_critic(self, features_extractor: Any = None) -> Any:
        """Return a critic; TD3 asks for one and for its target."""
        return StockCritic(
            self.observation_space, self._actions, self._inputs, self._group, self._critic_hidden
        ).to(self.device)
