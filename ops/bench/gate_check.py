"""
Checks from its records and the market alone whether a run kept to its gate.

Verdicts are measured with a risk model estimated here from the market's own bars, orders are held
against the verdicts and the prices that they were sent at. It trusts nothing that the run says of
itself but what it did.
"""

from collections.abc import Sequence

import numpy as np

from agents.arrays import FloatArray
from agents.gate.measures import measure
from agents.gate.risk_model import RiskModel, estimate_risk
from agents.messages import OrderRecord, Verdict
from backtest.market.market_data import MarketData
from backtest.results import PositionHistory
from config.settings import LimitSettings, Settings

ROUNDING = 1e-6  # relative; the measures' own
PRICE_SLACK = 0.05  # equity moves between the last close and the opening


def beyond_the_gate(
    market: MarketData,
    settings: Settings,
    book: PositionHistory,
    verdicts: Sequence[Verdict],
    orders: Sequence[OrderRecord],
) -> list[str]:
    """
    Return each breach in words; empty where the run kept to its limits.

    A verdict breaches where a measure of what it allows is beyond both its limit and what was
    held; an order where no verdict allows it: another instrument, direction or size. The market
    must have one bar a session for each instrument, and no corporate actions.
    """
    closes = market.bars.pivot(index="ts_close", columns="symbol", values="close")
    opens = market.bars.pivot(index="ts_open", columns="symbol", values="open")
    place = {symbol: i for i, symbol in enumerate(market.symbols)}
    found: list[str] = []
    for verdict in verdicts:
        strange = [line.symbol for line in verdict.lines if line.symbol not in place]
        found += [f"verdict on {symbol}, which is not traded" for symbol in strange]
        known = closes.loc[: verdict.ts_event, list(market.symbols)].to_numpy()
        returns = known[1:] / known[:-1] - 1.0
        held, allowed = np.zeros(len(place)), np.zeros(len(place))
        for line in verdict.lines:
            held[place[line.symbol]] = line.held
            allowed[place[line.symbol]] = line.allowed
        model = _model(market, returns, settings)
        found += [
            f"{name} at {verdict.ts_event} beyond its limit"
            for name in _breaches(held, allowed, model, settings.limits)
        ]
    allowing = {
        (v.decision_id, v.ts_event, line.symbol): line
        for v in verdicts
        if v.stage != "delivery"
        for line in v.lines
    }
    for order in orders:
        allowed_line = allowing.get((order.decision_id, order.ts_event, order.symbol))
        if allowed_line is None:
            found.append(f"order of {order.symbol} without a verdict")
            continue
        change = allowed_line.allowed - allowed_line.held
        equity = book.equity[np.searchsorted(book.ts, order.ts_event) - 1]
        price = opens.loc[: order.ts_event, order.symbol].iloc[-1]
        if order.quantity * change <= 0.0:
            found.append(f"order of {order.quantity} {order.symbol} against its verdict")
        elif abs(order.quantity) * price > abs(change) * equity * (1.0 + PRICE_SLACK):
            found.append(f"order of {order.quantity} {order.symbol} larger than its verdict")
    return found


def _model(market: MarketData, returns: FloatArray, settings: Settings) -> RiskModel:
    names = sorted({i.group for i in market.instruments})
    return estimate_risk(
        returns,
        np.array([names.index(i.group) for i in market.instruments], dtype=np.int64),
        np.array([i.shortable for i in market.instruments], dtype=bool),
        settings.limits.min_history,
        settings.desk.panel_sessions,
    )


def _breaches(
    held: FloatArray, allowed: FloatArray, model: RiskModel, limits: LimitSettings
) -> list[str]:
    before, after = measure(held, model), measure(allowed, model)
    pairs = (
        ("position", after.position, before.position, limits.max_position),
        ("group", after.group, before.group, limits.max_group),
        ("gross", after.gross, before.gross, limits.max_gross),
        ("correlation", after.correlation, before.correlation, limits.max_correlation),
        ("var", after.var, before.var, limits.max_var),
    )
    broken = [
        name
        for name, now, then, limit in pairs
        if np.any(now > np.maximum(limit, then) * (1.0 + ROUNDING) + ROUNDING)
    ]
    if np.any(~model.shortable & (allowed < -ROUNDING)):
        broken.append("long_only")
    return broken
