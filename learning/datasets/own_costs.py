"""
Each instrument's own cost of a fill, in place of one configured default for all.

The costs are those that a backtest takes by an instrument's class (`backtest.market.book_kinds`):
assumptions, not quotes; put measured costs in source.yaml (`cost_bps`) instead.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from backtest.market.book_kinds import contract_cost_bps
from backtest.market.market_data import MarketData
from config.costs import US_EQUITY_COST_FRAC
from config.errors import ConfigError


def with_own_costs(market: MarketData) -> MarketData:
    """
    Return the market with each instrument's own cost; those that a source gives stay.

    Raises ConfigError for an instrument whose cost is not known, by name.
    """
    costs: dict[str, float] = {}
    for i in market.instruments:
        known = US_EQUITY_COST_FRAC * 1e4 if i.asset_class == "equity" else contract_cost_bps(i)
        cost = known if i.cost_bps is None else i.cost_bps
        if cost is None:
            raise ConfigError(f"expected an own cost (cost_bps) for {i.symbol}, was none")
        costs[i.symbol] = cost
    instruments = tuple(
        msgspec.structs.replace(i, cost_bps=costs[i.symbol]) for i in market.instruments
    )
    low, high = min(costs.values()), max(costs.values())
    note = f"own costs of {low:g} to {high:g} bp a fill are assumptions, not quotes"
    return replace(market, instruments=instruments, notes=(*market.notes, note))
