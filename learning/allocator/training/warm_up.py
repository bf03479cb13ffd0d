"""
Direct reinforcement: a specialist's warm-up by the gradient of what its own book earns.

No action moves a price, so what a rollout earns is a known function of the weights that a policy
asks for. The gradient is known in closed form, and no exploration is needed: weights drift, are
moved to what is asked for beyond the no-trade band, pay fee and half spread, and earn what the
instruments do from one opening to the next; the gradient goes back through all of it. In units of
the risk of the budget held evenly, a session's excess return x has the utility

    x - risk_aversion / sqrt(252) * min(x, 0)^2

The band lets gradients through as if every move traded (the straight-through estimator): a move
within it gets the gradient of a larger one. The wider the band, the more that estimate is off, so
the warm-up's is a share of the desk's. Limits other than the position's, whole lots, stops and
thin volume are left to the twin, in which every epoch is validated and learning goes on.

Sources: Moody and Saffell 2001, "Learning to Trade via Direct Reinforcement"; Bengio et al. 2013,
"Estimating or Propagating Gradients Through Stochastic Neurons", for the band. It knows no tier:
the caller says how a policy places a book.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.allocator.observation import BUDGET_UNIT, WEIGHT_UNIT
from agents.arrays import FloatArray
from config.allocator import DirectSettings
from config.errors import DataError
from learning.allocator.training.epochs import train_epochs
from learning.allocator.training.phase_results import WARM_UP
from learning.allocator.training.renamed import folder_as_now
from learning.allocator.training.training_run import TrainingRun
from learning.envs.environments import Arena
from learning.rewards.policy_reward import SESSIONS_PER_YEAR, reference_volatility
from learning.twin.market_arrays import MarketArrays


@dataclass(frozen=True)
class RolloutPolicy:
    """
    How a rollout places its B books, and the budgets (B,) that their risk is measured by.

    `place` turns normalised features (B, N, 22), macro (B, 18) and what is held (B, N) into the
    weights asked for (B, N).
    """

    place: Callable[[Tensor, Tensor, Tensor], Tensor]
    budget: Tensor


class Rollouts:
    """
    Rollouts through an arena's training windows that need no twin.

    A decision at close t is carried out at the opening of t + 1 and earns until that of t + 2.
    """

    def __init__(self, arena: Arena, settings: DirectSettings) -> None:
        dataset, limits = arena.dataset, arena.settings.limits
        self.settings = settings
        self.windows = [w for w in arena.windows if w.sessions > settings.sessions]
        if not self.windows:
            raise DataError(
                f"expected a training window longer than the warm-up's {settings.sessions} "
                f"sessions, was {max(w.sessions for w in arena.windows)} at most"
            )
        self._features = torch.from_numpy(arena.norm.features(dataset.features))
        self._macro = torch.from_numpy(arena.norm.macro(dataset.macro))
        earned, cost = openings(dataset.market_arrays, arena.reward.risk_free)
        self._earned = torch.from_numpy(earned.astype(np.float32))
        self._cost = torch.from_numpy(cost.astype(np.float32))
        self._most = limits.max_position * limits.headroom
        self._band = settings.band_share * arena.settings.band(len(dataset.symbols))
        self._reference = reference_volatility(dataset.returns, arena.reference)
        self._aversion = settings.risk_aversion / SESSIONS_PER_YEAR**0.5

    def utility(self, policy: RolloutPolicy, rng: np.random.Generator) -> Tensor:
        """Return the mean utility of a session over a batch of rollouts drawn from `rng`."""
        s = self.settings
        drawn = [self.windows[k] for k in rng.integers(0, len(self.windows), s.books)]
        market = torch.tensor([w.market for w in drawn])
        # the last decision's earnings end at the opening after the window's last outcome
        first = torch.tensor([int(rng.integers(w.start, w.stop - s.sessions)) for w in drawn])
        held = self._some_book(policy, rng)
        scale = self._reference * policy.budget
        utility = torch.zeros(())
        for k in range(s.sessions):
            now = market, first + k
            earned = self._earned[now]
            asked = policy.place(self._features[now], self._macro[now], held)
            weights = beyond_band(asked.clamp(-self._most, self._most), held, self._band)
            paid = (self._cost[now] * (weights - held).abs()).sum(dim=-1)
            grown = (weights * earned).sum(dim=-1)
            x = (grown - paid) / scale
            utility = utility + (x - self._aversion * x.clamp(max=0.0).square()).mean()
            held = weights * (1.0 + earned) / (1.0 + grown).unsqueeze(-1)
        return utility / s.sessions

    def _some_book(self, policy: RolloutPolicy, rng: np.random.Generator) -> Tensor:
        """Return books to begin with: three in ten empty, the others at random, none short."""
        count = self._features.shape[2]
        shares = rng.uniform(0.0, 1.0, (len(policy.budget), count)) / count
        shares *= rng.uniform(0.0, 1.0, (len(shares), 1)) < 0.7
        held = torch.from_numpy(shares.astype(np.float32)) * policy.budget.unsqueeze(-1)
        return held.clamp(max=self._most)


def warm_up(
    run: TrainingRun,
    arena: Arena,
    net: nn.Module,
    policies: Callable[[np.random.Generator, int], RolloutPolicy],
    validate: Callable[[], float],
    meta: Mapping[str, Any],
) -> tuple[dict[str, float], dict[str, float]]:
    """
    Train `net` in place by the gradient of its books' utility; leave it at its best epoch.

    Return what the phase's result says of it: seconds and measures, by name.

    `policies` draws so many books' budgets and says how `net` places them; `validate` returns a
    Sharpe ratio and draws nothing. Checkpoints, curve and logs go into a folder of its own in
    the run's. Without settings (`direct`) there is no warm-up.
    Raises DataError where no training window is longer than a rollout, and what `train_epochs`
    raises.
    """
    settings = run.settings.direct
    if settings is None:
        return {}, {}
    rollouts = Rollouts(arena, settings)
    rng = np.random.default_rng(run.seed)
    optimiser = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )

    def train(_: int) -> float:
        total = 0.0
        for _ in range(settings.updates):
            loss = -rollouts.utility(policies(rng, settings.books), rng)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
            optimiser.step()
            total += loss.item()
        return total / settings.updates

    trained = train_epochs(
        net,
        optimiser,
        train,
        lambda: {"validation_loss": -validate()},
        folder_as_now(run.folder / WARM_UP),
        tag="direct",
        epochs=settings.epochs,
        patience=settings.patience,
        rng=rng,
        meta=meta,
        resume=run.resume,
        progress=run.progress,
    )
    return {"warm-up": sum(trained.seconds.values())}, {"warm_up_sharpe": -trained.best_loss}


def openings(market_arrays: MarketArrays, risk_free: float) -> tuple[FloatArray, FloatArray]:
    """
    Return what a decision at each close earns beyond cash, and what its trades cost.

    Both (M, T, N), fractions: earned from the next opening to the one after it, dividends in and
    the risk-free rate (`risk_free` a year where none is known) off; fee and half the spread at the
    next opening. 0 where an instrument does not open, and for the last two sessions.
    """
    bid, ask = (_first(prices) for prices in (market_arrays.bid, market_arrays.ask))
    middle = (bid + ask) / 2
    rate = (
        np.where(np.isnan(market_arrays.risk_free), risk_free, market_arrays.risk_free / 100)
        / SESSIONS_PER_YEAR
    )
    earned, cost = np.zeros_like(middle), np.zeros_like(middle)
    after = middle[:, 2:] + np.nan_to_num(market_arrays.dividends[:, 2:])
    earned[:, :-2] = after / middle[:, 1:-1] - 1.0 - rate[:, 1:-1, None]
    cost[:, :-1] = market_arrays.fee_frac + (ask - bid)[:, 1:] / (ask + bid)[:, 1:]
    return np.nan_to_num(earned), np.nan_to_num(cost)


def beyond_band(asked: Tensor, held: Tensor, band: float) -> Tensor:
    """Return what is held where a move stays within the band, unless it sells all of it."""
    near = ((asked - held).abs() < band) & (asked != 0.0)
    return asked + (torch.where(near, held, asked) - asked).detach()


def rows_of(features: Tensor, held: Tensor, shortable: Tensor, budgets: Tensor) -> Tensor:
    """Return `assemble`'s instruments, for gradients. Shapes: (B, N, 22), (B, N) -> (B, N, I)."""
    own = [held / WEIGHT_UNIT, shortable.expand_as(held), budgets / BUDGET_UNIT]
    return torch.cat([features, torch.stack(own, dim=-1)], dim=-1)


def market_of(macro: Tensor, gross: Tensor) -> Tensor:
    """Return `assemble`'s market without a drawdown. Shapes: (B, 18), (B,) -> (B, C)."""
    return torch.cat([macro, torch.stack([torch.zeros_like(gross), gross], dim=-1)], dim=-1)


def shares_of(means: Tensor, shortable: Tensor) -> Tensor:
    """Return `bottom_shares`, for gradients: none where a mean is cut. Shape: (B, n)."""
    signed = means.clamp(-1.0, 1.0)
    asked = torch.where(shortable > 0.0, signed, 0.5 * (signed + 1.0))
    return asked / asked.abs().sum(dim=-1, keepdim=True).clamp(min=1.0)


def _first(prices: FloatArray) -> FloatArray:
    """Return each session's first price there is. Shapes: (M, T, K, N) -> (M, T, N)."""
    found = prices[:, :, 0]
    for k in range(1, prices.shape[2]):
        found = np.where(np.isnan(found), prices[:, :, k], found)
    return np.asarray(found)
