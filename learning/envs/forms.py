"""
The training environment's three forms over the twin: specialist, portfolio and joint.

A form turns actions into target weights and books into observations and rewards; B episodes go
in lockstep, and a finished one starts again inside the batch. They differ in who acts:

    specialist   one group's policy places a budget on its instruments; nothing else is held
    portfolio    the top shares capital among groups; frozen bottom policies place each budget
    joint        both act: the bottoms' actions for all N instruments, then the top's for G groups

A step is a session as the desk lives it (see `twin`). An episode is truncated after the
sampler's number of sessions and terminated when half of its starting equity is gone (`RUIN`). A
bottom policy sees its own group's gross and the book's drawdown; a top policy sees each group's
mean inputs with budget 0, as it does when it trades.

It knows no learner; how targets become fills is the twin's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from agents.allocator.networks import BottomNet
from agents.allocator.observation import (
    BUDGET_UNIT,
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Float32Array,
    Normaliser,
    Observation,
    assemble,
    bottom_shares,
    flatten,
    group_means,
    top_budgets,
)
from agents.protocols import FloatArray
from config.allocator import EpisodeSettings, RewardSettings
from config.settings import Settings
from learning.allocator.book import Book
from learning.allocator.rewards import Reward, reference_volatility
from learning.allocator.windows import EpisodeSampler, Window
from learning.envs.twin import Step, Twin

type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]
type Info = dict[str, NDArray[Any]]
type FormStep = tuple[Float32Array, FloatArray, BoolArray, BoolArray, Info]

RUIN = 0.5  # of the starting equity: an episode that has less is over
BUDGET_INPUT = INSTRUMENT_INPUTS.index("budget")


@dataclass(frozen=True)
class Arena:
    """
    What episodes are drawn from and judged by.

    `windows` are those that episodes start in; `norm` and the reward's reference volatility come
    from training windows alone.
    """

    book: Book
    windows: tuple[Window, ...]
    norm: Normaliser
    settings: Settings
    reward: RewardSettings
    episode: EpisodeSettings
    reference: tuple[Window, ...]  # training windows, for the reference volatility


class Form(Protocol):
    """
    B episodes in lockstep.

    Shapes: observations (B, observation_size) float32, actions (B, action_size) in [-1, 1].
    `info` holds arrays (B, ...): growth, riskless, fees, turnover, limited, breached_var,
    episode_return and episode_sessions (of the rows that ended), terminal_observation (B, D; the
    last observation of the rows that ended, 0 elsewhere).
    """

    batch: int
    observation_size: int
    action_size: int
    twin: Twin
    rng: np.random.Generator

    def reset(self, where: BoolArray | None = None) -> Float32Array:
        """Start episodes anew, all or `where`; return all observations."""
        ...

    def step(self, actions: NDArray[np.floating[Any]]) -> FormStep:
        """Live one session; return observations, rewards, terminated, truncated, info."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, for a checkpoint."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, bit for bit."""
        ...


class Bottoms:
    """
    Bottom policies of all groups, frozen: what a book's members are given of their budgets.

    Raises ValueError where a group has no policy.
    """

    def __init__(self, book: Book, nets: Mapping[str, BottomNet]) -> None:
        raise NotImplementedError

    def place(
        self, features: Float32Array, macro: Float32Array, weights: FloatArray,
        drawdown: FloatArray, budgets: FloatArray,
    ) -> FloatArray:
        """
        Return target weights. Normalised features (B, N, 22), macro (B, 18), weights (B, N),
        drawdown (B,), budgets (B, G) -> (B, N).
        """
        raise NotImplementedError


class SpecialistForm:
    """
    One group's instruments; observation n * I + C, action n. `arena.book` holds that group alone
    (`only_group`). An episode's budget is drawn from `budget` (least, most), fractions of equity.
    """

    def __init__(
        self, arena: Arena, batch: int, seed: int, *, budget: tuple[float, float]
    ) -> None:
        raise NotImplementedError


class PortfolioForm:
    """The top's form; observation G * D + C of group means (D = I + embedding), action G."""

    def __init__(
        self,
        arena: Arena,
        batch: int,
        seed: int,
        *,
        bottoms: Bottoms,
        embeddings: Float32Array | None = None,  # (M, T, G, E)
    ) -> None:
        raise NotImplementedError


class JointForm:
    """
    Both tiers' form; observation N * I + C with budget 0, action N + G (bottoms, then top).

    `observation` gives the present one unflattened. A policy lets the top act first and puts its
    budgets in with `with_budgets` before the bottoms act. `labels` (B,) are the regimes of the
    present sessions, targets only.
    """

    groups: IntArray  # (N,)
    gross: float  # what `top_budgets` shares: arena.settings.limits.max_gross * headroom
    embeddings: Float32Array | None

    def __init__(
        self, arena: Arena, batch: int, seed: int, *, embeddings: Float32Array | None = None
    ) -> None:
        raise NotImplementedError

    def observation(self) -> Observation:
        """Return what all instruments and the market look like now, budgets 0."""
        raise NotImplementedError

    def labels(self) -> IntArray:
        """Return the present sessions' regimes with hindsight, -1 where unknown: (B,)."""
        raise NotImplementedError


def only_group(book: Book, group: str) -> Book:
    """Return the book of one group's instruments: what its specialist trades."""
    raise NotImplementedError


def with_budgets(instruments: Float32Array, budgets: FloatArray, group: IntArray) -> Float32Array:
    """Return instrument rows with their groups' budgets in. (B, N, I), (B, G) -> (B, N, I)."""
    raise NotImplementedError
