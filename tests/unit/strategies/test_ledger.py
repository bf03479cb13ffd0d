"""The desk's own account of what it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.ledger import Ledger

FILLS = st.lists(
    st.tuples(st.integers(-50, 50).filter(bool), st.floats(1, 100)), min_size=1, max_size=30
)


def test_a_round_trip_earns_the_difference_less_commissions():
    ledger = Ledger(1)
    ledger.fill(0, 10, 100.0, 1.0, 1, "decision")
    ledger.fill(0, -10, 103.0, 2.0, 2, "decision")
    (round_trip,) = ledger.round_trips
    assert (round_trip.ts_open, round_trip.ts_close, round_trip.profit) == (
        1,
        2,
        pytest.approx(27.0),
    )
    assert ledger.quantity[0] == 0


def test_a_fill_across_zero_closes_one_trip_and_opens_the_next():
    ledger = Ledger(1)
    ledger.fill(0, 10, 100.0, 0.0, 1, "decision")
    ledger.fill(0, -15, 90.0, 3.0, 2, "decision")
    assert ledger.round_trips[0].profit == pytest.approx(-100.0 - 2.0)
    assert (ledger.quantity[0], ledger.average[0]) == (-5, 90.0)
    ledger.fill(0, 5, 80.0, 0.0, 3, "decision")
    assert ledger.round_trips[1].profit == pytest.approx(50.0 - 1.0)


def test_profit_is_in_the_accounts_currency():
    ledger = Ledger(1)
    ledger.rate[0] = 0.01
    ledger.fill(0, 1000, 110.0, 0.0, 1, "decision")
    ledger.mark[0] = 111.0
    assert ledger.unrealised() == pytest.approx(10.0)
    ledger.fill(0, -1000, 111.5, 0.0, 2, "decision")
    assert ledger.round_trips[0].profit == pytest.approx(15.0)


@given(FILLS)
def test_realised_and_unrealised_add_up_to_cash_flows(fills):
    ledger, cash = Ledger(1), 0.0
    for ts, (quantity, price) in enumerate(fills):
        ledger.fill(0, quantity, price, 0.1, ts, "decision")
        cash -= quantity * price + 0.1
    ledger.mark[0] = fills[-1][1]
    worth = cash + ledger.quantity[0] * ledger.mark[0]
    closed = sum(round_trip.profit for round_trip in ledger.round_trips)
    # what the open trip has realised or paid so far is neither closed nor unrealised
    open_round_trip = ledger._profit[0] if ledger.quantity[0] else 0.0
    assert closed + open_round_trip + ledger.unrealised() == pytest.approx(worth, abs=1e-6)


def test_a_sessions_turnover_and_commissions_are_taken_once():
    ledger = Ledger(2)
    ledger.fill(1, -4, 25.0, 0.3, 1, "decision")
    assert ledger.take_session() == (100.0, 0.3)
    assert ledger.take_session() == (0.0, 0.0)
