"""
What a report says of positions that ended because their instrument did.

It reads the records of a run and knows no engine and no prices.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.messages import FillRecord, Instrument, OrderRecord
from backtest.market.sessions import stamp_text


def delisting_notes(
    orders: Sequence[OrderRecord],
    fills: Sequence[FillRecord],
    instruments: Sequence[Instrument],
) -> list[str]:
    """
    Return a note of each delisted position: symbol, date and value, in its quote currency.

    Quantities and prices are those of that day, as in the records.
    """
    currency = {i.symbol: i.currency for i in instruments}
    notes = []
    for order in orders:
        if order.reason != "delisted":
            continue
        parts = [fill for fill in fills if fill.order_id == order.order_id]
        value = sum(abs(fill.quantity) * fill.price for fill in parts)
        size = abs(order.quantity)
        day = stamp_text(order.ts_event)[:10]
        notes.append(
            f"DELISTED: {order.symbol} had no bar while others traded, so {size:,g} "
            f"{'held short ' if order.quantity > 0 else ''}were closed on {day} at its last price "
            f"times the recovery, {value / size:g}: {value:,.2f} {currency[order.symbol]}"
        )
    return notes
