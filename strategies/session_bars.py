"""Folds the bars of the session under way into one an instrument, in engine prices."""

import numpy as np
from nautilus_trader.model.data import Bar

from agents.arrays import FloatArray

COLUMNS = 5  # open, high, low, close, volume


class SessionBars:
    """One session's bar of each of N instruments; a bar may come in many parts."""

    def __init__(self, size: int) -> None:
        self._bars: list[list[float] | None] = [None] * size

    def add(self, i: int, bar: Bar) -> float:
        """Fold a bar into the session of instrument `i` and return its close."""
        high, low, close = bar.high.as_double(), bar.low.as_double(), bar.close.as_double()
        session = self._bars[i]
        if session is None:
            self._bars[i] = [bar.open.as_double(), high, low, close, bar.volume.as_double()]
        else:
            if high > session[1]:
                session[1] = high
            if low < session[2]:
                session[2] = low
            session[3] = close
            session[4] += bar.volume.as_double()
        return float(close)

    def take(self) -> FloatArray:
        """Return open, high, low, close, volume (5, N), NaN where no bar came; start anew."""
        missing = [np.nan] * COLUMNS
        rows = np.array([missing if bar is None else bar for bar in self._bars])
        self._bars = [None] * len(self._bars)
        return rows.T
