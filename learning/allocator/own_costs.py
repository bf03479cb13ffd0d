"""
What a fill of each instrument costs where the configured default is not to hold for all.

Assumptions, not quotes: what a mid-sized account pays a fill beside the spread, which the venue
charges to all alike. It knows no broker; put measured costs in source.yaml (`cost_bps`) instead.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from backtest.market import MarketData
from config.errors import ConfigError

# basis points of notional a fill: FX and gold as raw-spread accounts charge by the lot, index
# CFDs as the share of a wider spread, oil wider still
OWN_COST_BPS = {
    "EURUSD": 0.5,
    "GBPUSD": 0.5,
    "USDJPY": 0.5,
    "XAUUSD": 1.0,
    "BRENT": 2.0,
    "WTIUSD": 2.0,
    "SPX500": 0.5,
    "NAS100": 0.5,
    "US30": 0.5,
}
EQUITY_COST_BPS = 1.0  # a large US stock at a tiered commission


def with_own_costs(market: MarketData) -> MarketData:
    """
    Return the market with each instrument's own cost; those that a source gives stay.

    Raises ConfigError for an instrument whose cost is not known, by name.
    """
    costs: dict[str, float] = {}
    for i in market.instruments:
        known = EQUITY_COST_BPS if i.asset_class == "equity" else OWN_COST_BPS.get(i.symbol)
        cost = known if i.cost_bps is None else i.cost_bps
        if cost is None:
            names = ", ".join(sorted(OWN_COST_BPS))
            raise ConfigError(f"expected an own cost of {names}, was {i.symbol}")
        costs[i.symbol] = cost
    instruments = tuple(
        msgspec.structs.replace(i, cost_bps=costs[i.symbol]) for i in market.instruments
    )
    low, high = min(costs.values()), max(costs.values())
    note = f"own costs of {low:g} to {high:g} bp a fill are assumptions, not quotes"
    return replace(market, instruments=instruments, notes=(*market.notes, note))
