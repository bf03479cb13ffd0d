"""The desk's word and the strategist's: they agree, or the line says who overruled whom."""

import msgspec
import pytest

from agents.messages import Allocation, Instrument, Proposal, VerdictLine
from config.settings import load_settings
from ops.composition.overruled import desk_word, overruled, strategist_word
from tests.unit.agents.cases import case, state

SETTINGS = load_settings("backtest", environ={})  # a band of 1%
CASE = case(state(price=200.0))  # equity 100,000
STOCK = Instrument(symbol="AAA", venue="X")
PAIR = msgspec.structs.replace(STOCK, asset_class="forex", shortable=True)


def line(allowed, held=0.0, asked=None, limit=""):
    asked = allowed if asked is None else asked
    return VerdictLine(symbol="AAA", held=held, asked=asked, allowed=allowed, limit=limit)


def says(action, conviction, cites=("o1",)):
    return Proposal(
        symbol="AAA", action=action, conviction=conviction, horizon="medium", rationale="",
        cites=cites,
    )  # fmt: skip


def placed(views=(), bottom="black-litterman-baseline"):
    return Allocation(
        regime="bull", top_policy="hrp-baseline", bottom_policy=bottom, group_budgets={},
        weights={}, views=views,
    )  # fmt: skip


def why(verdict, proposal, allocation=None, instrument=STOCK):
    return overruled(
        desk_word(CASE, SETTINGS, instrument, verdict),
        proposal,
        allocation or placed(),
        verdict,
        shortable=instrument.shortable,
        exit_conviction=0.5,
    )


@pytest.mark.parametrize(
    ("held", "allowed", "word"),
    [
        (0.0, 0.095, "BUY"),
        (0.05, 0.095, "BUY"),
        (0.05, 0.02, "SELL"),
        (0.05, 0.0, "SELL"),
        (0.0, 0.0, "HOLD"),
        (0.05, 0.05, "HOLD"),
        (0.05, 0.055, "HOLD"),  # within the band
        (0.005, 0.0, "SELL"),  # an exit is never within the band
        (0.0, -0.05, "SELL"),
        (-0.05, 0.0, "BUY"),
    ],
)
def test_the_desks_word_is_that_of_the_order_that_it_would_send(held, allowed, word):
    assert desk_word(CASE, SETTINGS, STOCK, line(allowed, held)).action == word


def test_what_is_dearer_than_its_weight_is_not_ordered():
    dear = case(state(price=10_000.0))
    word = desk_word(dear, SETTINGS, STOCK, line(0.095))
    assert (word.action, word.no_order) == (
        "HOLD",
        "a lot costs 10,000.00 and the change is worth 9,500.00",
    )
    abroad = msgspec.structs.replace(STOCK, currency="JPY")  # its price is in no comparable money
    assert desk_word(dear, SETTINGS, abroad, line(0.095)).action == "BUY"


def test_a_proposal_that_cites_nothing_abstains():
    assert strategist_word(None) == "ABSTAIN"
    assert strategist_word(says("HOLD", 0.0, cites=())) == "ABSTAIN"
    assert strategist_word(says("SELL", -0.2)) == "SELL"


@pytest.mark.parametrize(
    ("action", "conviction", "allowed"), [("BUY", 0.3, 0.05), ("HOLD", 0.0, 0.0)]
)
def test_where_the_desk_does_what_the_strategist_says_nobody_is_overruled(
    action, conviction, allowed
):
    assert why(line(allowed), says(action, conviction)) == ""


@pytest.mark.parametrize("proposal", [None, says("HOLD", 0.05)])
def test_without_a_view_the_baseline_allocation_is_named(proposal):
    reason = why(line(0.095, asked=0.8, limit="position"), proposal)
    assert reason == "there is no view, and the baseline allocation asks for 80.00%"


def test_a_sell_that_does_not_earn_its_round_trip_leaves_the_baseline_allocation():
    reason = why(line(0.095, asked=0.8, limit="position"), says("SELL", -0.12))
    assert "its view expects less than a round trip costs" in reason
    assert "the baseline allocation asks for 80.00%" in reason


def test_a_sell_that_only_lowers_the_weight_says_from_where_it_exits():
    reason = why(line(0.03), says("SELL", -0.3), placed(views=("AAA",)))
    assert "only moves the weight, to 3.00%" in reason
    assert "-0.50" in reason


def test_the_gate_the_band_and_the_lot_are_named():
    buys = says("BUY", 0.4)
    assert "gate" in why(line(0.0, asked=0.1, limit="history"), buys)
    assert "history" in why(line(0.0, asked=0.1, limit="history"), buys)
    assert "within the band of 1.00%" in why(line(0.005), buys)


def test_what_has_no_place_in_the_allocation_is_said_to_have_none():
    assert "has no place for it" in why(line(0.0), says("BUY", 0.4))
    reason = why(line(0.0), says("SELL", -0.4), instrument=PAIR)
    assert "what can be shorted has no weight without a view" in reason


def test_a_trained_policy_that_reads_no_proposals_is_named():
    reason = why(line(0.05), says("SELL", -0.9), placed(bottom="micro-7"))
    assert reason == "micro-7, which reads no proposals, asks for 5.00%"
