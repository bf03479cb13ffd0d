"""What each route came to."""

import numpy as np
import pytest

from agents.messages import (
    Abstention,
    Allocation,
    Decision,
    Instrument,
    Opinion,
    Proposal,
    Route,
)
from strategies.outcomes import OutcomeBook

INSTRUMENTS = [
    Instrument(symbol=s, venue="SIM", group=g) for s, g in zip("ABC", "XXY", strict=True)
]
NONE = np.zeros(3)


def decision(*convictions: float) -> Decision:
    symbols = "ABC"
    return Decision(
        decision_id="d",
        ts_event=1,
        ts_init=2,
        expires=3,
        trigger="schedule",
        minds="rules",
        routes=tuple(Route(symbol=s, arm=3, context=(0.0,), scores=(0.0,)) for s in symbols),
        opinions=(
            Opinion(
                opinion_id="o",
                junior="news",
                symbol="A",
                score=1.0,
                confidence=1.0,
                evidence=(),
                rationale="",
                model="m",
            ),
        ),
        abstentions=(
            Abstention(junior="technical", symbol="B", reason="timeout", model="m", tokens=7),
        ),
        proposals=tuple(
            Proposal(
                symbol=s,
                action="BUY",
                conviction=c,
                horizon="medium",
                rationale="",
                cites=("o",),
                conviction_without={"news": c / 2},
            )
            for s, c in zip(symbols, convictions, strict=False)
        ),
        allocation=Allocation(
            regime="bull", top_policy="t", bottom_policy="b", group_budgets={}, weights={}
        ),
    )


def play(book: OutcomeBook, opens, closes, dividends=None):
    closed = []
    for day, (o, c) in enumerate(zip(opens, closes, strict=True)):
        d = NONE if dividends is None else np.asarray(dividends[day], float)
        closed += book.close_session(day, np.asarray(o, float), np.asarray(c, float), d)
    return {item.outcome.symbol: item for item in closed}


def test_a_route_is_entered_at_the_next_opening_and_left_at_its_horizons_close():
    book = OutcomeBook(INSTRUMENTS, np.full(3, 0.003))
    book.add(decision(0.5, -0.5), "medium")
    opens = [[100, 50, 10]] + [[999, 999, 999]] * 4
    closes = [[101, 50, 10], [102, 50, 10], [99, 50, 10], [104, 50, 10], [110, 45, 11]]
    out = play(book, opens, closes)
    a, b, c = (out[s].outcome for s in "ABC")
    assert a.instrument_return == pytest.approx(0.10)
    assert a.realised == pytest.approx(0.10 - 0.006)
    assert b.realised == pytest.approx(0.10 - 0.006)
    assert (c.conviction, c.realised) == (0.0, 0.0)
    assert a.benchmark_return == pytest.approx((0.10 - 0.10 + 0.10) / 3)
    assert a.group_return == pytest.approx(0.0)
    assert a.max_drawdown == pytest.approx(1 - 99 / 102)
    assert a.leave_one_out == {"news": pytest.approx(0.25 * 0.10)}
    assert [o.opinion_id for o in out["A"].opinions] == ["o"]
    assert [[a.tokens for a in out[s].abstentions] for s in "ABC"] == [[], [7], []]
    assert book.open_routes == 0


def test_only_dividends_after_the_entry_count():
    book = OutcomeBook(INSTRUMENTS, NONE)
    book.add(decision(1.0), "medium")
    flat = [[100, 50, 10]] * 5
    out = play(book, flat, flat, [[5, 0, 0], [0, 0, 0], [3, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert out["A"].outcome.instrument_return == pytest.approx(0.03)


def test_an_instrument_that_starts_late_is_entered_late_and_a_silent_one_has_no_outcome():
    book = OutcomeBook(INSTRUMENTS, NONE)
    book.add(decision(1.0, 1.0, 1.0), "medium")
    n = np.nan
    opens = [[n, n, 10]] * 2 + [[100, n, 10]] * 3
    closes = [[n, n, 10]] * 2 + [[100, n, 10], [100, n, 10], [105, n, 10]]
    out = play(book, opens, closes)
    assert out["A"].outcome.instrument_return == pytest.approx(0.05)
    assert "B" not in out
    assert book.unpriced == 1
