"""
The exchange rate of a quote currency into the account's, as desk and venue know it.

The desk reads a pair's mark, the venue the newest quote that it has seen of the pair: one of an
opening, or of a close where the pair is itself quoted in another currency. Where every instrument
is quoted in the account's currency there is nothing to do.
"""

import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from learning.twin.market_arrays import MarketArrays


class ExchangeRates:
    """The exchange rates of the market arrays' instruments."""

    def __init__(self, market_arrays: MarketArrays) -> None:
        sources = market_arrays.rate_sources
        self._foreign = np.array([i for i, s in enumerate(sources) if s is not None], np.int64)
        self._pair = np.array([s[0] for s in sources if s is not None], np.int64)
        self._inverse = np.array([s[1] for s in sources if s is not None], bool)
        self._size = len(sources)
        markets, sessions, slots, _ = market_arrays.bid.shape
        self._newest: tuple[FloatArray, ...] = ()
        if len(self._foreign):
            self._newest = tuple(
                _carried(opened[..., self._pair], closed[..., self._pair]).reshape(
                    markets * sessions, slots, -1
                )
                for opened, closed in (
                    (market_arrays.bid, market_arrays.close_bid),
                    (market_arrays.ask, market_arrays.close_ask),
                )
            )

    def rates(self, before: FloatArray, mark: FloatArray) -> FloatArray:
        """
        Return the desk's rates at its marks: those before where a pair has none.

        Shapes: all (..., N).
        """
        if not len(self._foreign):
            return before
        value = mark[..., self._pair]
        known = np.where(self._inverse, 1.0 / value, value)
        rate = before.copy()
        rate[..., self._foreign] = np.where(np.isfinite(value), known, before[..., self._foreign])
        return rate

    def known(self, mark: FloatArray) -> BoolArray:
        """Tell whose currency has a rate at these marks; shapes: (..., N)."""
        known = np.ones(mark.shape, bool)
        known[..., self._foreign] = np.isfinite(mark[..., self._pair])
        return known

    def quotes(self, row: IntArray, slot: int) -> tuple[FloatArray, FloatArray]:
        """Return bid and ask (B, N) of each instrument's pair, as the venue sees them then."""
        result = np.ones((2, len(row), self._size))
        if self._newest:
            for side, newest in zip(result, self._newest, strict=True):
                side[:, self._foreign] = newest[row, slot]
        return result[0], result[1]


def _carried(opened: FloatArray, closed: FloatArray) -> FloatArray:
    """Return the newest quote at each opening, from openings and closings (M, T, K, P) in turn."""
    markets, sessions, slots, pairs = opened.shape
    events = np.stack([opened, closed], axis=3).reshape(markets, -1, pairs)
    place = np.where(np.isfinite(events), np.arange(events.shape[1])[None, :, None], 0)
    newest = np.take_along_axis(events, np.maximum.accumulate(place, axis=1), axis=1)
    return newest.reshape(markets, sessions, slots, 2, pairs)[:, :, :, 0]
