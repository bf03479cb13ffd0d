"""
The array types that all packages share, and the panel of returns, which is one of them.

A docstring gives each array's shape; `N` instruments, `T` sessions, `B` books, `M` markets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
type Float32Array = NDArray[np.float32]
type IntArray = NDArray[np.int64]
type BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Panel:
    """
    Past simple returns, one row a session, oldest first, aligned with a case's instruments.

    Shapes: returns (T, N), NaN where an instrument did not trade.
    """

    symbols: tuple[str, ...]
    returns: FloatArray
