"""
The notes that a report shows first: what is to be doubted, then how the run was traded.

They are made of a plan and its records; nothing is measured here.
"""

from collections.abc import Sequence

import numpy as np

from agents.messages import Decision, FillRecord, Instrument, OrderRecord
from agents.protocols import LearningMind
from backtest.engine.desk_result import BookRun
from backtest.market.accounts import ACCOUNTED
from backtest.market.rules import risk_free_rates
from backtest.market.sessions import stamp_text
from backtest.plan import RunPlan
from backtest.policies import allocator_notes, overlaps
from backtest.results import PositionHistory
from config.settings import LimitSettings


def run_notes(plan: RunPlan, own: BookRun, books: Sequence[PositionHistory]) -> tuple[str, ...]:
    """
    Return the lines that a report shows first, what is to be doubted before the rest.

    `own` is the hierarchy's book with its records, `books` are all of the report.
    """
    market, settings = plan.market, plan.settings
    notes = []
    if plan.manifest["learned_until"] >= plan.decide_from:
        until, first = stamp_text(plan.manifest["learned_until"]), stamp_text(plan.decide_from)
        notes.append(
            f"OVERLAP: the start state learned until {until}, this run decides from {first} on: "
            "its results are no evidence"
        )
    notes += overlaps(plan.mind.policies, market, plan.decide_from)
    notes += [note for note in market.notes if note.startswith(ACCOUNTED)]
    others = [note for note in market.notes if not note.startswith(ACCOUNTED)]
    notes += others[:1]  # what span is traded, and why
    notes += [_ruined(book) for book in books if (book.equity <= 0).any()]
    notes += delisting_notes(
        own.records.of(OrderRecord), own.records.of(FillRecord), market.instruments
    )
    notes += others[1:]
    notes += allocator_notes(plan.mind.policies, market)
    notes.append(minds_note(plan.mind))
    if not risk_free_rates(market, settings.market.currency):
        notes.append("no risk-free rate in the data: idle cash earns nothing, excess is over zero")
    notes.append(
        f"costs: {settings.market.cost_frac:.4f} of notional per fill unless the instrument has "
        f"its own, {settings.market.spread_bps:g} bps spread, slippage of a tick with "
        f"probability {settings.market.slippage_probability:g}"
    )
    notes.append(_limits_note(settings.limits))
    notes.append(_views_note(own.records.of(Decision)))
    costs = [f"{i.symbol} {i.cost_bps:g}" for i in market.instruments if i.cost_bps is not None]
    if costs:
        notes.append(f"own costs (bps per fill): {', '.join(costs)}")
    if own.missed_decisions:
        notes.append(f"{own.missed_decisions} decisions were missed: the mind failed")
    if own.expired_decisions:
        notes.append(f"{own.expired_decisions} decisions expired before they could be traded")
    if own.unpriced_routes:
        notes.append(f"{own.unpriced_routes} routes had no price before their horizon's end")
    if own.news_left_out:
        notes.append(
            f"{own.news_left_out} news items were in no case: each showed the newest "
            f"{settings.desk.news_per_symbol} of a symbol (desk.news_per_symbol)"
        )
    if own.open_routes:
        notes.append(f"{own.open_routes} routes were open at the end and have no outcome")
    return tuple(notes)


def delisting_notes(
    orders: Sequence[OrderRecord], fills: Sequence[FillRecord], instruments: Sequence[Instrument]
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


def minds_note(mind: LearningMind) -> str:
    """Return which minds decided: whether a language model was trained, what is one's own."""
    own = "".join(f"; {place} by {model} (one's own)" for place, model in mind.own_juniors.items())
    untrained = sorted(role for role, trained in mind.language_models.items() if not trained)
    if untrained:
        return (
            f"minds: {mind.name}; UNTRAINED language models ({', '.join(untrained)}): no adapter, "
            f"so their opinions bind to the schema and mean nothing yet{own}"
        )
    spoken = "trained" if mind.language_models else "rule-backed; no trained model"
    return f"minds: {mind.name}, {spoken}{own}"


def _ruined(book: PositionHistory) -> str:
    first = stamp_text(int(book.ts[int(np.argmax(book.equity <= 0))]))
    name = ", ".join(
        part for part in (book.name, book.stress, book.gate.replace("_", " ")) if part
    )
    return f"RUIN: equity fell to zero or below in {name} on {first}; the book was halted"


def _limits_note(limits: LimitSettings) -> str:
    target = limits.volatility_target
    return (
        f"limits: position {limits.max_position:.1%}, group {limits.max_group:.0%}, VaR "
        f"{limits.max_var:.1%}, drawdown breaker {limits.max_drawdown:.0%}, "
        + ("no volatility target, " if target is None else f"volatility target {target:.0%}, ")
        + limits.stop_text
    )


def _views_note(decisions: Sequence[Decision]) -> str:
    spoke = sum(len(d.allocation.views) for d in decisions)
    asked = sum(len(d.proposals) for d in decisions)
    if not asked:
        return "views: no proposal was made"
    return (
        f"views: {spoke:,} of {asked:,} proposals moved a weight; the others are worth less than "
        "a round trip, and the baseline allocation stands"
    )
