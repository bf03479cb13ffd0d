"""
Books of data for training: features, labels and the venue's tape of one or more markets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from agents.protocols import FloatArray
from backtest.market import MarketData
from config.allocator import EpisodeSettings, SplitSettings
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.allocator.windows import Split

if TYPE_CHECKING:
    from learning.envs.tape import Tape

type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]
type BookName = Literal["multi-asset", "equity"]


@dataclass(frozen=True)
class Book:
    """
    M markets of T sessions and N instruments, all of equal shape.

    Shapes: group (N,) indexes `groups`; shortable (N,); ts (M, T) closing stamps; features
    (M, T, N, 22) and macro (M, T, 18), float32, NaN where masked; returns (M, T, N), the tape's.
    label (M, T) is the regime with hindsight, over bull, bear, sideways, -1 where unknown: a
    target only. estimate (M, T) is the causal one, in the same order. Simulated books hold the
    `seeds` (M,) and the `simulator` settings that make their markets again.
    """

    name: BookName
    symbols: tuple[str, ...]
    groups: tuple[str, ...]
    group: IntArray
    shortable: BoolArray
    tape: Tape
    ts: IntArray
    features: NDArray[np.float32]
    macro: NDArray[np.float32]
    label: IntArray
    estimate: IntArray
    returns: FloatArray
    source: str
    digest: str
    seeds: tuple[int, ...] = ()
    simulator: SimulatorSettings | None = None
    notes: tuple[str, ...] = ()


def simulated_book(
    name: BookName,
    *,
    seeds: Sequence[int],
    sessions: int,
    settings: Settings,
    simulator: SimulatorSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Book:
    """Return M simulated markets, one a seed, stacked."""
    raise NotImplementedError


def real_book(name: BookName, market: MarketData, settings: Settings) -> Book:
    """Return one real market as a book of M = 1."""
    raise NotImplementedError


def split(
    book: Book, settings: SplitSettings | None = None, episode: EpisodeSettings | None = None
) -> Split:
    """Return the parts of a book."""
    raise NotImplementedError


def training_rows(
    book: Book, parts: Split
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features (R, 22) and macro (S, 18) of the training windows, for the normaliser."""
    raise NotImplementedError
