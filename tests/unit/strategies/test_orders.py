"""In which order judged quantities are sent, and the reason that each order carries."""

import numpy as np
import pytest

from agents.gate.state import DELISTED, STOP, Pending
from strategies.orders import by_gate, in_order, reason


def pending(*, movable, exits=None, reduced=None) -> Pending:
    """Return what may be sent of one book."""
    n = len(movable)
    stamps = np.zeros((1, n), np.int64)
    return Pending(
        target=np.zeros((1, n)),
        movable=np.array([movable], bool),
        exits=np.array([exits or [0] * n], np.int8),
        reduced=np.array([reduced or [False] * n], bool),
        ts_decided=stamps,
        ts_held=stamps,
    )


def test_sells_are_sent_before_the_buys_that_they_make_room_for():
    held, change = np.array([0.0, 0.0, 500.0, 300.0]), np.array([200.0, 100.0, -500.0, -50.0])
    assert in_order(change, held) == [2, 3, 0, 1]


def test_a_short_that_is_covered_goes_before_a_short_that_grows():
    held, change = np.array([-100.0, -100.0]), np.array([-50.0, 50.0])
    assert in_order(change, held) == [1, 0]


def test_a_flip_through_zero_goes_with_the_increases():
    held, change = np.array([100.0, 100.0, 0.0]), np.array([-130.0, -30.0, 10.0])
    assert in_order(change, held) == [1, 0, 2]


def test_what_does_not_change_is_no_order():
    assert in_order(np.array([0.0, 5.0, 0.0]), np.array([100.0, 0.0, 0.0])) == [1]
    assert in_order(np.zeros(3), np.array([100.0, 0.0, -5.0])) == []


def test_without_flips_the_gross_peaks_at_no_point_of_the_sequence():
    rng = np.random.default_rng(0)
    for _ in range(200):
        held = rng.integers(-5, 6, 6).astype(float)
        after = np.where(held < 0, -1, 1) * rng.integers(0, 6, 6)
        gross, book = [np.abs(held).sum()], held.copy()
        for i in in_order(after - held, held):
            book[i] = after[i]
            gross.append(np.abs(book).sum())
        assert max(gross) <= max(gross[0], gross[-1])
        assert np.array_equal(book, after)


@pytest.mark.parametrize(("code", "name"), [(STOP, "stop"), (DELISTED, "delisted")])
def test_a_forced_exit_is_named_by_what_forces_it_whatever_was_asked(code, name):
    waits = pending(movable=[True], exits=[code], reduced=[True])
    assert {reason(waits, 0, wanted=wanted) for wanted in (True, False)} == {name}


def test_an_order_that_a_decision_asked_for_is_a_decisions():
    assert reason(pending(movable=[True]), 0, wanted=True) == "decision"


def test_an_order_that_nobody_asked_for_is_the_limits():
    assert reason(pending(movable=[True]), 0, wanted=False) == "limit"


def test_a_reduction_that_the_gate_asked_for_is_the_limits():
    assert reason(pending(movable=[True], reduced=[True]), 0, wanted=True) == "limit"


@pytest.mark.parametrize(
    ("movable", "exits", "reduced", "alone"),
    [
        ([True, True], [STOP, 0], [False, True], True),
        ([True, True], [STOP, 0], [False, False], False),
        ([True, False], [STOP, 0], [False, False], True),  # the second has no price yet
        ([True, False], [0, STOP], [False, False], False),
    ],
)
def test_the_gate_acts_alone_where_no_decisions_target_may_be_sent(movable, exits, reduced, alone):
    assert by_gate(pending(movable=movable, exits=exits, reduced=reduced)) is alone
