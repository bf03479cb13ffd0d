"""
Says why a run sent no order, in one line for the report's first screen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from agents.messages import Decision, Verdict, VerdictLine
from backtest.market.market_data import MarketData
from config.settings import Settings


def why_no_orders(
    market: MarketData,
    settings: Settings,
    decisions: Sequence[Decision],
    verdicts: Sequence[Verdict],
) -> str:
    """
    Return the likeliest reason why decisions made no order; the first that holds.

    `verdicts` are the gate's, of delivery and dispatch.
    """
    head = "no order was sent: "
    if not decisions:
        return head + "no decision was made"
    bars = market.bars
    stocks = {i.symbol for i in market.instruments if i.asset_class == "equity"}
    quoted = (bars["volume"] > 0) | ~bars["symbol"].isin(stocks)  # others' volumes count ticks
    if not quoted.any():
        return head + "no bar has volume, so that none opens with a price to trade at"
    last = decisions[-1].ts_event
    history = bars[bars["ts_close"] <= last].groupby("symbol")["ts_close"].nunique()
    most, needed = int(history.max()), settings.limits.min_history + 1
    if market.step_ns == 0 and most < needed:
        return head + f"{most} sessions of history and {needed} needed"
    asked = max((abs(w) for d in decisions for w in d.allocation.weights.values()), default=0.0)
    if asked == 0.0:
        return head + "no decision asked for a position"
    lines = [line for v in verdicts for line in v.lines]
    causes = Counter(line.limit for line in lines if line.limit and line.allowed == 0.0)
    allowed = max((abs(line.allowed) for line in lines), default=0.0)
    if allowed == 0.0 and causes:
        return head + f"every position was cut to nothing, mostly by {causes.most_common(1)[0][0]}"
    band = settings.band(len(market.instruments))
    if allowed < band:
        return (
            head + f"no target reached the no-trade band of {band:.2%}, the largest {allowed:.2%}"
        )
    if _dearer_than_lots(market, settings, lines):
        return head + "a lot of each instrument costs more than its target"
    if causes:
        return head + f"positions were cut, mostly by {causes.most_common(1)[0][0]}"
    return head + "no target met a price before it expired"


def _dearer_than_lots(
    market: MarketData, settings: Settings, lines: Sequence[VerdictLine]
) -> bool:
    """Tell whether every target is worth less than a lot at the instrument's lowest price."""
    cheapest = market.bars.groupby("symbol")["open"].min()
    cash = settings.market.starting_cash
    lots = {i.symbol: i.lot_size * cheapest.get(i.symbol, np.inf) for i in market.instruments}
    return all(abs(line.allowed) * cash < lots[line.symbol] for line in lines)
