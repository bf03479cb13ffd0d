"""The reward of all allocator training by reinforcement (SPEC F4)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.protocols import FloatArray
from config.allocator import RewardSettings
from learning.allocator.windows import Window


class Reward:
    """Per-session rewards of B books."""


def reference_volatility(returns: FloatArray, windows: Sequence[Window]) -> float:
    """Return the volatility a session of the evenly held instruments; (M, T, N)."""
    raise NotImplementedError
