"""What a mind is told of the market that it is built for: costs, and how good juniors are."""

import pytest

from agents.juniors.news import RuleNewsJunior
from agents.messages import Instrument
from config.settings import load_settings
from ops.composition.model_minds import build_mind, round_trips

SETTINGS = load_settings("backtest", {"market.cost_frac": 0.0005, "market.spread_bps": 2.0}, {})
PLAIN = Instrument(symbol="AAA", venue="X")
OWN = Instrument(symbol="BBB", venue="X", cost_bps=1.0)


def test_a_round_trip_is_two_fills_and_the_spread_and_an_instruments_own_cost_goes_first():
    costs = round_trips([PLAIN, OWN], SETTINGS.market)
    assert costs == pytest.approx({"AAA": 0.0012, "BBB": 0.0004})


@pytest.mark.parametrize(
    ("source", "expected"), [("simulator-3", RuleNewsJunior.simulated_ic), ("packaged", 0.02)]
)
def test_juniors_are_as_good_as_their_cards_say_on_simulated_markets_only(source, expected):
    mind = build_mind(SETTINGS, instruments=[PLAIN], source=source)
    assert mind.allocator.bottom.prior_ic["news"] == expected


def test_what_is_expected_of_juniors_is_named_among_the_models_that_identify_a_run():
    simulated = build_mind(SETTINGS, instruments=[PLAIN], source="simulator-1").models
    real = build_mind(SETTINGS, instruments=[PLAIN], source="mine").models
    assert simulated["allocator-prior-ic"] != real["allocator-prior-ic"]
