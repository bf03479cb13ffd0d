from dataclasses import replace

import msgspec
import pytest

from agents.allocator.policy_file import save_policy
from agents.messages import TrainingRecord
from backtest.plan import plan_run
from backtest.policies import allocator_notes, overlaps, policy_facts
from config.errors import ConfigError
from config.settings import AllocatorSettings, DeskSettings, Settings
from ops.composition.model_minds import build_mind
from tests.conftest import DAY_NS, session
from tests.unit.agents.policies import card, network

GROUPS = ("G0", "G1")  # of make_market


def _trained(last_ts, seeds=()):
    return TrainingRecord(
        source="simulator" if seeds else "h1", digest="d", first_ts=0, last_ts=last_ts,
        seeds=seeds, steps=500_000,
    )  # fmt: skip


def _card(kind="bottom", **changes):
    return card(kind, **{"groups": GROUPS, **changes})


@pytest.fixture
def plan(make_market, tmp_path):
    """Return a maker of plans, with the given cards' policies, or with none."""
    market = make_market(sessions=40)

    def make(*cards, folder="policies", seed=0):
        for made in cards:
            save_policy(tmp_path / folder / made.slot, network(made.kind, seed), made)
        where = str(tmp_path / folder) if cards else ""
        settings = Settings(
            allocator=AllocatorSettings(policies=where), desk=DeskSettings(panel_sessions=60)
        )
        return plan_run(market, settings, build_mind(settings), "fresh", session(20)[0])

    return make


def test_a_run_without_policies_says_that_its_allocator_is_untrained(make_market):
    (line,) = allocator_notes((), make_market())
    assert line.startswith("allocator: baseline, untrained (hierarchical risk parity, ")


def test_a_run_names_its_policies_their_training_and_which_tier_is_a_baseline(make_market):
    fx = _card(group="G1", name="fx", trained=_trained(2 * DAY_NS, seeds=(1, 2, 3)))
    assert allocator_notes((fx,), make_market()) == [
        "allocator, bottom-G1: fx, trained on simulator, 3 simulated markets, "
        "1970-01-01T00:00:00Z to 1970-01-03T00:00:00Z, 500,000 steps",
        "allocator, top: baseline, untrained (hierarchical risk parity)",
        "allocator, bottom of G0: baseline, untrained (Black-Litterman)",
    ]
    top = _card("top", trained=_trained(2 * DAY_NS))
    lines = allocator_notes((top,), make_market())
    assert lines[0].startswith("allocator, top: ppo-top, trained on h1, 1970-01-01T00:00:00Z to ")
    assert lines[1:] == ["allocator, bottom: baseline, untrained (Black-Litterman)"]
    assert len(allocator_notes((top, _card()), make_market())) == 2


@pytest.mark.parametrize(
    ("market", "record", "overlap"),
    [
        ("h1", _trained(99), False),
        ("h1", _trained(100), True),
        ("d1", _trained(100), True),
        ("simulator-3", _trained(100), False),
        ("simulator-3", _trained(100, seeds=(1, 2)), False),
        ("simulator-2", _trained(100, seeds=(1, 2)), True),
        ("simulator-21", _trained(100, seeds=(1, 2)), False),
        ("h1", _trained(100, seeds=(1, 2)), False),
    ],
)
def test_only_what_was_trained_on_overlaps(market, record, overlap, make_market):
    named = replace(make_market(sessions=5), name=market)
    lines = overlaps((_card(trained=record),), named, 100)
    assert [line.startswith("OVERLAP: policy ppo-bottom was trained ") for line in lines] == (
        [True] if overlap else []
    )


def test_policies_are_a_part_of_a_runs_identity_and_their_place_is_not(plan):
    none = plan()
    both = plan(_card(), _card("top"))
    assert none.manifest["policies"] == {}
    assert sorted(both.manifest["policies"]) == ["bottom", "top"]
    assert none.run_id != both.run_id
    assert plan(_card(), _card("top"), folder="elsewhere").run_id == both.run_id
    assert plan(_card(), folder="one").run_id != both.run_id
    assert plan(_card(), _card("top"), folder="retrained", seed=1).run_id != both.run_id
    assert msgspec.json.encode(both.manifest)


def test_a_manifest_says_what_a_policy_was_trained_on():
    made = _card(group="G0", trained=_trained(7, seeds=(4,)))
    facts = policy_facts((made,))["bottom-G0"]
    assert facts["digest"] == made.digest
    assert (facts["trained"]["last_ts"], facts["trained"]["seeds"]) == (7, (4,))


def test_a_market_of_other_groups_is_refused_before_it_is_run(plan):
    with pytest.raises(ConfigError, match=r"groups of 'ppo-top' .G0.*, was made with G1"):
        plan(_card("top", groups=("G0",)))


def test_a_specialists_own_group_need_not_be_the_only_one(plan):
    assert "bottom-G0" in plan(_card(groups=("G0",), group="G0")).manifest["policies"]


def test_a_specialist_without_its_group_is_said_to_place_nothing(make_market):
    cards = tuple(_card(groups=("G0", "G2"), group=group, name=group) for group in ("G0", "G2"))
    lines = allocator_notes(cards, make_market())
    assert lines[0].startswith("allocator, bottom-G0: G0, trained on made, ")
    assert lines[1] == "allocator, bottom-G2: G2, places nothing: no instruments of its group"
    assert lines[-1] == "allocator, bottom of G1: baseline, untrained (Black-Litterman)"


def test_a_top_of_more_groups_than_the_market_has_is_taken(plan):
    assert "top" in plan(_card("top", groups=("G0", "G1", "G2"))).manifest["policies"]


def test_a_market_that_no_specialist_places_is_refused(plan):
    with pytest.raises(ConfigError, match=r"instruments of G2, .* was made with G0, G1"):
        plan(_card(groups=("G2",), group="G2"))
