"""
Rollouts of the joint phase: what all heads did with exploration noise, and what came of it.

A head's noise remembers: each session it keeps `noise_memory` of itself and is filled up to the
same deviation, so that what is learned from is N(mean, spread) at every session and the book is
not turned over by noise alone, which at 0.3% a fill would cost more than any policy earns. A
bottom that answers with moves from what it holds has its memory in the book: its noise is fresh,
of `move_std`, for a move below the no-trade band tries nothing.

Source: Hollenstein et al. 2024, "Colored Noise in PPO", noise with a memory, here of the first
order. It knows no loss and no checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.allocator.observation import top_budgets, unflatten
from agents.arrays import Float32Array, FloatArray
from config.allocator import JointSettings
from learning.allocator.training.joint.critic import Critic
from learning.allocator.training.joint.joint_net import SharedNet, View, view
from learning.envs.environments import JointEnvironment

type Row = dict[str, float]


@dataclass(frozen=True)
class Rollout:
    """
    S sessions of play, flattened: of one rollout, or of several in a row.

    The present top played those from row `fresh` on; the bottom policies are the same in all.

    Shapes: `actions` and `log_probs` by head, the top first: (S, G) and (S, 1) of the top, (S, n)
    and (S, groups) of a bottom; advantages, returns (S,); labels (S,), -1 where unknown.
    """

    view: View
    actions: list[Tensor]
    log_probs: list[Tensor]
    advantages: Tensor
    returns: Tensor
    labels: Tensor
    fresh: int = 0

    @classmethod
    def joined(cls, parts: Sequence[Rollout]) -> Rollout:
        """Return rollouts in a row; the present top played the last."""

        def heads(lists: Iterable[list[Tensor]]) -> list[Tensor]:
            return [torch.cat(head) for head in zip(*lists, strict=True)]

        return cls(
            view=View.joined([part.view for part in parts]),
            actions=heads(part.actions for part in parts),
            log_probs=heads(part.log_probs for part in parts),
            advantages=torch.cat([part.advantages for part in parts]),
            returns=torch.cat([part.returns for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            fresh=sum(len(part.returns) for part in parts[:-1]),
        )


class Player:
    """
    Plays an environment's episodes with the present policies.

    `observation` is the newest, None before `begin`; `noise` holds each head's present noise, the
    top's first; `seconds` is the wall time spent in the environment. `embeddings` (M, T, G, E) go
    with a top policy that takes them.
    """

    def __init__(
        self,
        environment: JointEnvironment,
        net: SharedNet,
        critic: Critic,
        settings: JointSettings,
        embeddings: Float32Array | None,
        rng: np.random.Generator,
    ) -> None:
        self.environment, self.net, self.critic = environment, net, critic
        self.settings, self.rng = settings, rng
        self._embeddings = embeddings
        self._n = len(environment.arena.dataset.symbols)
        sizes = [net.layout.groups, *(len(members) for members in net.members)]
        self.noise: list[Float32Array] = [
            rng.standard_normal((settings.envs, size), dtype=np.float32) for size in sizes
        ]
        self.observation: Float32Array = np.empty(0, np.float32)
        self.seconds = 0.0

    def begin(self) -> None:
        """Start all episodes anew."""
        self.observation = self.environment.reset()

    def play(self) -> tuple[Rollout, Row]:
        """Play `rollout_steps` sessions of every environment; return them, and means a step."""
        s, environment = self.settings, self.environment
        shape = (s.rollout_steps, s.envs)
        rewards, values, done = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
        sums = {"reward": 0.0, "limits_hit": 0.0, "turnover": 0.0, "loss_beyond_limit": 0.0}
        played = []
        for t in range(s.rollout_steps):
            seen, actions, means, labels = self._act()
            played.append((seen, actions, means, labels))
            market, session = environment.twin.market.copy(), environment.twin.t.copy()
            began = time.perf_counter()
            self.observation, reward, terminated, truncated, info = environment.step(
                self._joined(actions)
            )
            self.seconds += time.perf_counter() - began
            with torch.no_grad():
                values[t] = self.critic(seen).numpy()
            rewards[t], done[t] = reward, terminated | truncated
            if truncated.any():  # the value of what was cut off stands for what would follow
                last = info["terminal_observation"][truncated]
                rewards[t, truncated] += s.gamma * self._value(
                    last, market[truncated], session[truncated] + 1
                )
            sums["reward"] += float(info["reward"].mean())
            sums["limits_hit"] += float(info["limited"].mean())
            sums["turnover"] += float(info["turnover"].mean())
            sums["loss_beyond_limit"] += float(info["loss_beyond_limit"].mean())
        views, all_actions, all_means, all_labels = zip(*played, strict=True)
        following = self._value(self.observation, environment.twin.market, environment.twin.t)
        advantages = gae(rewards, values, done, following, s.gamma, s.gae_lambda)
        actions = [torch.cat(head) for head in zip(*all_actions, strict=True)]
        means = [torch.cat(head) for head in zip(*all_means, strict=True)]
        flat_advantages = torch.from_numpy(advantages.reshape(-1)).float()
        returns = flat_advantages + torch.from_numpy(values.reshape(-1)).float()
        with torch.no_grad():
            log_probs = [
                self.net.log_probs(head, means[head], actions[head])
                for head in range(len(actions))
            ]
        rollout = Rollout(
            view=View.joined(views),
            actions=actions,
            log_probs=log_probs,
            advantages=(flat_advantages - flat_advantages.mean()) / (flat_advantages.std() + 1e-8),
            returns=returns,
            labels=torch.cat(all_labels),
        )
        return rollout, {name: value / s.rollout_steps for name, value in sums.items()}

    def _act(self) -> tuple[View, list[Tensor], list[Tensor], Tensor]:
        """
        Let the top act, then the bottom policies on its budgets, all with exploration noise.

        Return the view with the budgets, actions and means by head (the top first), and labels.
        """
        environment, layout = self.environment, self.net.layout
        twin = environment.twin
        seen = self._view(self.observation, twin.market, twin.t)
        with torch.no_grad():
            means = [self.net.top(seen)[0]]
            actions = [self._explore(0, means[0])]
            budgets = top_budgets(actions[0].numpy(), environment.gross)
            seen = seen.with_budgets(torch.from_numpy(budgets).float(), layout.group)
            for h in range(len(layout.heads)):
                means.append(self.net.bottom(seen, h))
                actions.append(self._explore(h + 1, means[-1]))
        labels = torch.from_numpy(environment.arena.dataset.truth[twin.market, twin.t])
        return seen, actions, means, labels

    def _explore(self, head: int, means: Tensor) -> Tensor:
        """Return a head's actions: its means and the next of its noise, of deviation `spread`."""
        moves = head > 0 and self.net.layout.holds[head - 1]  # the book is such a head's memory
        memory = 0.0 if moves else self.settings.noise_memory
        fresh = self.rng.standard_normal(means.shape, dtype=np.float32)
        self.noise[head] = memory * self.noise[head] + math.sqrt(1.0 - memory**2) * fresh
        return means + self.net.spread(head).exp() * torch.from_numpy(self.noise[head])

    def _value(
        self, observation: Float32Array, market: NDArray[np.int64], session: NDArray[np.int64]
    ) -> FloatArray:
        seen = self._view(observation, market, session)
        with torch.no_grad():
            return np.asarray(self.critic(seen).numpy(), dtype=np.float64)

    def _view(
        self, observation: Float32Array, market: NDArray[np.int64], session: NDArray[np.int64]
    ) -> View:
        extra = None if self._embeddings is None else self._embeddings[market, session]
        return view(unflatten(observation, self._n), extra, self.net.layout)

    def _joined(self, actions: Sequence[Tensor]) -> Float32Array:
        """Return the environment's action, (B, N + G): every instrument's, then the groups'."""
        top, *placed = actions
        joined = np.empty((len(top), self._n + top.shape[1]), dtype=np.float32)
        for members, action in zip(self.net.members, placed, strict=True):
            joined[:, members.numpy()] = action.numpy()
        joined[:, self._n :] = top.numpy()
        return joined


def gae(
    rewards: FloatArray,
    values: FloatArray,
    done: NDArray[np.bool_],
    following: FloatArray,
    gamma: float,
    lam: float,
) -> FloatArray:
    """
    Return generalised advantages.

    `done[t]` says that the episode ended with step t, `following` is the value after the last.
    Shapes: (T, B), following (B,) -> (T, B).
    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized
    Advantage Estimation", eq. 16.
    """
    advantages = np.zeros_like(rewards)
    ahead, carried = following, np.zeros_like(following)
    for t in range(len(rewards) - 1, -1, -1):
        going = 1.0 - done[t]
        error = rewards[t] + gamma * going * ahead - values[t]
        carried = error + gamma * lam * going * carried
        advantages[t], ahead = carried, values[t]
    return advantages
