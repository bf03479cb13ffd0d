"""
The indicators: what each price feature is, one small function each, vectorised over a universe.

Every feature is a function of a finite window of sessions, so that a restarted engine that is
given the window's history says the same as one that never stopped. Prices are split-adjusted to
the newest session; returns hold dividends. The equal-weight index is one more column, last, of
the closes and returns, so that index features follow the instruments' definitions.

A window that holds a session in which the instrument had no bar makes its feature NaN; nothing
is carried over a halt. Two features are defined on the sessions that exist: `drawdown` and the
cross-sectional ones (index, breadth, correlation, dispersion), over the instruments that do.
It knows no news, no fundamentals and no clock.

Departures: RSI and ATR take plain means of their window (Cutler's form) where Wilder smooths
for ever; MACD's averages end at three spans (0.25% of the weight) and are renormalised.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray

YEAR_ROOT = 252.0**0.5  # of sessions a year
HIGH_SESSIONS = 252
MIN_HIGH_SESSIONS = 60  # closes that must exist before a high means anything


class Ring:
    """
    The newest rows of a table that grows, as contiguous views, oldest first.

    Rows from before the start are NaN, so that a window always has its full length.
    """

    def __init__(self, rows: int, width: int) -> None:
        self._data: FloatArray = np.full((2 * rows, width), np.nan)
        self._rows = rows
        self._end = rows

    def append(self, row: FloatArray) -> None:
        """Add one row, dropping the oldest; shapes: row (width,)."""
        if self._end == len(self._data):
            self._data[: self._rows] = self._data[self._rows :]
            self._end = self._rows
        self._data[self._end] = row
        self._end += 1

    def tail(self, rows: int) -> FloatArray:
        """Return a view of the newest rows; shapes: (rows, width), rows at most the capacity."""
        return self._data[self._end - rows : self._end]

    def scale(self, column: int, factor: float) -> None:
        """Multiply one column's whole history, as a split does."""
        self._data[:, column] *= factor


def _sum(window: FloatArray) -> FloatArray:
    total: FloatArray = np.add.reduce(window, axis=0)
    return total


def _mean(window: FloatArray) -> FloatArray:
    return _sum(window) / len(window)


def _std(window: FloatArray) -> FloatArray:
    """Return the sample standard deviation over the first axis."""
    centred = window - _mean(window)
    std: FloatArray = np.sqrt(_sum(centred * centred) / (len(window) - 1))
    return std


def _ema_weights(span: int) -> FloatArray:
    """Return the weights of an exponential mean over three spans, newest first; they sum to 1."""
    weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(3 * span)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _macd_weights() -> FloatArray:
    """Return the MACD histogram as one filter on closes; shapes: (104, 1), oldest first."""
    line = -_ema_weights(26)
    line[:36] += _ema_weights(12)
    histogram = np.pad(line, (0, 26)) - np.convolve(line, _ema_weights(9))
    return np.ascontiguousarray(histogram[::-1, None])


_MACD = _macd_weights()


class Prices:
    """
    The windows of one session, with what several features share computed once.

    Shapes: `close`, `simple` and `log` have N + 1 columns, the index last; the others N.
    `held` (N + 1,) counts the closes that exist in 252 sessions; `groups` (N,) are codes from 0.
    Properties with N + 1 values end with the index's.
    """

    def __init__(
        self,
        bars: tuple[Ring, Ring, Ring, Ring, Ring],
        simple: Ring,
        log: Ring,
        held: NDArray[np.int64],
        groups: NDArray[np.intp],
    ) -> None:
        self.open, self.high, self.low, self.close, self.volume = bars
        self.simple = simple
        self.log = log
        self.held = held
        self.groups = groups

    @cached_property
    def last(self) -> FloatArray:
        """The newest session's closes; shapes: (N,)."""
        return self.close.tail(1)[0, :-1]

    @cached_property
    def return_20(self) -> FloatArray:
        """Log returns over 20 sessions; shapes: (N + 1,)."""
        return _sum(self.log.tail(20))

    @cached_property
    def volatility_20(self) -> FloatArray:
        """Annualised volatility over 20 sessions; shapes: (N + 1,)."""
        return _std(self.log.tail(20)) * YEAR_ROOT

    @cached_property
    def sma_20(self) -> FloatArray:
        """Mean close of 20 sessions; shapes: (N + 1,)."""
        return _mean(self.close.tail(20))

    @cached_property
    def sma_60(self) -> FloatArray:
        """Mean close of 60 sessions; shapes: (N + 1,)."""
        return _mean(self.close.tail(60))

    @cached_property
    def centred_60(self) -> FloatArray:
        """60 simple returns less their mean; shapes: (60, N + 1)."""
        window = self.simple.tail(60)
        return window - _mean(window)

    @cached_property
    def trend(self) -> FloatArray:
        """SMA20 over SMA60, less one; shapes: (N + 1,)."""
        return self.sma_20 / self.sma_60 - 1.0

    @cached_property
    def drawdown(self) -> FloatArray:
        """Close over the highest close that exists in 252 sessions, less one; shapes: (N + 1,)."""
        window = self.close.tail(HIGH_SESSIONS)
        depth: FloatArray = window[-1] / np.fmax.reduce(window, axis=0) - 1.0
        depth[self.held < MIN_HIGH_SESSIONS] = np.nan
        return depth


def return_1(p: Prices) -> FloatArray:
    """Log return over the newest session, dividends included."""
    return p.log.tail(1)[0, :-1]


def return_5(p: Prices) -> FloatArray:
    """Log return over 5 sessions, dividends included."""
    return _sum(p.log.tail(5))[:-1]


def return_20(p: Prices) -> FloatArray:
    """Log return over 20 sessions, dividends included."""
    return p.return_20[:-1]


def return_60(p: Prices) -> FloatArray:
    """Log return over 60 sessions, dividends included."""
    return _sum(p.log.tail(60))[:-1]


def volatility_20(p: Prices) -> FloatArray:
    """Sample standard deviation of 20 daily log returns, times √252."""
    return p.volatility_20[:-1]


def volatility_ratio(p: Prices) -> FloatArray:
    """Standard deviation of 5 daily log returns over that of 60."""
    return (_std(p.log.tail(5)) / _std(p.log.tail(60)))[:-1]


def rsi_14(p: Prices) -> FloatArray:
    """
    Sum of the rises of 14 closes over the sum of all moves, 0..1; 0.5 where nothing moved.

    Source: Wilder 1978, relative strength index, in Cutler's form (plain means).
    """
    window = p.close.tail(15)
    moves = window[1:] - window[:-1]
    rises = _sum(np.maximum(moves, 0.0))[:-1]
    both = _sum(np.abs(moves))[:-1]
    return np.where(both == 0.0, 0.5, rises / both)


def macd(p: Prices) -> FloatArray:
    """
    MACD histogram 12/26/9 (EMA12 − EMA26, less its own EMA9) over close; 104 sessions.

    Source: Appel 1979; histogram by Aspray 1986; averages end at three spans.
    """
    window = p.close.tail(len(_MACD))[:, :-1]
    return _sum(_MACD * window) / p.last


def bollinger_position(p: Prices) -> FloatArray:
    """
    Close less SMA20, over two standard deviations of 20 closes; 0 where they are all equal.

    Source: Bollinger 2001; population standard deviation.
    """
    centred = p.close.tail(20) - p.sma_20
    band = 2.0 * np.sqrt(_sum(centred * centred) / 20.0)[:-1]
    return np.where(band <= 1e-12 * p.last, 0.0, centred[-1, :-1] / band)


def atr_14(p: Prices) -> FloatArray:
    """
    Mean true range of 14 sessions over close.

    Source: Wilder 1978, average true range, with a plain mean.
    """
    before = p.close.tail(15)[:-1, :-1]
    top = np.maximum(p.high.tail(14), before)
    bottom = np.minimum(p.low.tail(14), before)
    return _mean(top - bottom) / p.last


def volume_ratio(p: Prices) -> FloatArray:
    """Volume over its mean in the previous 20 sessions, in today's shares."""
    window = p.volume.tail(21)
    ratio: FloatArray = window[-1] / _mean(window[:-1])
    return ratio


def trend(p: Prices) -> FloatArray:
    """
    SMA20 over SMA60, less one.

    Source: moving-average crossover, as in Brock, Lakonishok and LeBaron 1992.
    """
    return p.trend[:-1]


def drawdown(p: Prices) -> FloatArray:
    """
    Close over the highest close of 252 sessions, less one; needs 60 closes, holes allowed.

    Source: definition; nearness to the 52-week high, George and Hwang 2004.
    """
    return p.drawdown[:-1]


def gap(p: Prices) -> FloatArray:
    """Open over the previous session's close, less one, splits removed."""
    overnight: FloatArray = p.open.tail(1)[0] / p.close.tail(2)[0, :-1] - 1.0
    return overnight


def relative_strength(p: Prices) -> FloatArray:
    """
    return_20 less the mean return_20 of the other instruments of its group; masked without any.

    Source: definition; industry momentum, Moskowitz and Grinblatt 1999.
    """
    own = p.return_20[:-1]
    there = own == own
    known = np.where(there, own, 0.0)
    total = np.bincount(p.groups, known)[p.groups]
    peers = np.bincount(p.groups, there)[p.groups] - 1.0
    relative: FloatArray = own - (total - own) / np.where(peers > 0.0, peers, np.nan)
    return relative


def beta_60(p: Prices) -> FloatArray:
    """
    Slope of 60 simple returns on the equal-weight index's.

    Source: Sharpe 1964, market model by least squares.
    """
    covariance = _sum(p.centred_60 * p.centred_60[:, -1:])
    slope: FloatArray = covariance[:-1] / covariance[-1]
    return slope


def index_return_1(p: Prices) -> float:
    """
    Log return of the equal-weight index over the newest session, dividends included.

    Source: definition; the index is rebalanced each session over the instruments that traded.
    """
    return float(p.log.tail(1)[0, -1])


def index_return_20(p: Prices) -> float:
    """Log return of the index over 20 sessions."""
    return float(p.return_20[-1])


def index_trend(p: Prices) -> float:
    """
    SMA20 over SMA60 of the index's level, less one.

    Source: as trend.
    """
    return float(p.trend[-1])


def index_volatility(p: Prices) -> float:
    """
    Sample standard deviation of 20 daily log returns of the index, times √252.

    Source: as volatility_20.
    """
    return float(p.volatility_20[-1])


def index_drawdown(p: Prices) -> float:
    """
    Index over its highest level of 252 sessions, less one; needs 60 levels.

    Source: as drawdown.
    """
    return float(p.drawdown[-1])


def breadth(p: Prices) -> float:
    """Share of instruments whose close is above their SMA60."""
    mean = p.sma_60[:-1]
    there = int(np.count_nonzero(mean == mean))
    return int(np.count_nonzero(p.last > mean)) / there if there else np.nan


def correlation(p: Prices) -> float:
    """
    Mean pairwise correlation of 60 simple returns, over the instruments that have them all.

    Source: definition; from the norm of the sum of standardised returns.
    """
    centred = p.centred_60[:, :-1]
    norm = np.sqrt(_sum(centred * centred))
    there = norm > 0.0
    n = int(np.count_nonzero(there))
    if n < 2:
        return np.nan
    total = np.add.reduce(np.where(there, centred / norm, 0.0), axis=1)
    return float((np.add.reduce(total * total) - n) / (n * (n - 1)))


def dispersion(p: Prices) -> float:
    """Sample standard deviation of return_20 across the instruments."""
    own = p.return_20[:-1]
    own = own[own == own]
    return float(_std(own)) if len(own) > 1 else np.nan


PRICE_FEATURES = (
    return_1,
    return_5,
    return_20,
    return_60,
    volatility_20,
    volatility_ratio,
    rsi_14,
    macd,
    bollinger_position,
    atr_14,
    volume_ratio,
    trend,
    drawdown,
    gap,
    relative_strength,
    beta_60,
)
INDEX_FEATURES = (index_return_1, index_return_20, index_trend, index_volatility, index_drawdown)
BREADTH_FEATURES = (breadth, correlation, dispersion)
