"""What explanations read: one decision's records, ids by their start, a run in numbers."""

from __future__ import annotations

import pytest

from agents.messages import Decision, FillRecord, OrderRecord, Outcome, Reward, Verdict
from config.errors import ConfigError
from learning.experience import reading
from learning.experience.library import open_library
from ops.bench.library import sample_records, sample_run


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "library.db")


def write(library, records, run_id="sample", created_at=None):
    writer = library.writer(sample_run(run_id), created_at=created_at)
    for record in records:
        writer.add(record)
    writer.flush()


def of(records, kind, key):
    return [r for r in records if isinstance(r, kind) and r.decision_id == key]


def test_a_decisions_records_come_back_as_they_were_added(where):
    records = list(sample_records(6))
    with open_library(where) as library:
        write(library, records)
        for decision in (r for r in records if isinstance(r, Decision)):
            place = (library, "sample", decision.decision_id)
            for kind, read in (
                (Verdict, reading.verdicts),
                (OrderRecord, reading.orders),
                (FillRecord, reading.fills),
                (Reward, reading.rewards),
            ):
                expected = of(records, kind, decision.decision_id)
                assert sorted(read(*place), key=repr) == sorted(expected, key=repr)


def test_decisions_are_listed_oldest_first(where):
    records = list(sample_records(6))
    decisions = [r for r in records if isinstance(r, Decision)]
    with open_library(where) as library:
        write(library, reversed(decisions))
        keys = reading.decision_keys(library, "sample")
    assert [k.decision_id for k in keys] == [d.decision_id for d in decisions]


def test_a_decision_is_found_by_the_start_of_its_id_in_the_newest_run(where):
    records = list(sample_records(3))
    decision = next(r for r in records if isinstance(r, Decision))
    with open_library(where) as library:
        write(library, records, "older1", created_at=1)
        write(library, records, "newer1", created_at=2)
        assert reading.find_decision(library, decision.decision_id[:6]).run_id == "newer1"
        assert reading.find_decision(library, decision.decision_id, "older1").run_id == "older1"
        assert reading.find_run(library).run_id == "newer1"
        assert reading.find_run(library, "older1").run_id == "older1"


def test_the_newest_run_is_one_that_decided(where):
    with open_library(where) as library:
        write(library, sample_records(1), "decided", created_at=1)
        write(library, [], "nothing", created_at=2)
        assert reading.find_run(library).run_id == "decided"


@pytest.mark.parametrize("prefix", ["ffffff", "%%%%%%", "______", "\\\\\\\\\\\\"])
def test_a_start_that_no_id_has_is_refused(where, prefix):
    with open_library(where) as library:
        write(library, sample_records(2))
        with pytest.raises(ConfigError, match="expected a decision in the library"):
            reading.find_decision(library, prefix)


def test_a_start_of_two_ids_names_both(where):
    with open_library(where) as library:
        for run_id in ("twins-1", "twins-2"):
            write(library, sample_records(1), run_id)
        with pytest.raises(ConfigError, match=r"one of 2 ids \(twins-2, twins-1\)"):
            reading.find_run(library, "twins-")
        with pytest.raises(ConfigError, match="at least 6 characters"):
            reading.find_run(library, "twin-")


def test_a_library_without_decisions_is_refused(where):
    with (
        open_library(where) as library,
        pytest.raises(ConfigError, match="expected a library with a run that decided"),
    ):
        reading.find_run(library)


def test_a_tally_sums_what_the_records_say(where):
    records = list(sample_records(20))
    with open_library(where) as library:
        write(library, records)
        tally = reading.tally(library, "sample")
    decisions = [r for r in records if isinstance(r, Decision)]
    acted = [r for r in records if isinstance(r, Outcome) and r.conviction != 0.0]
    own = [r.value for r in records if isinstance(r, Reward) and r.learner == "decision"]
    paid = sum(r.commission for r in records if isinstance(r, FillRecord))
    assert tally.decisions == 20
    assert tally.acted == len(acted)
    assert tally.hits == sum(o.realised > 0 for o in acted)
    assert tally.realised == pytest.approx(sum(o.realised for o in acted) / len(acted))
    assert tally.reward == pytest.approx(sum(own) / len(own))
    assert tally.commission == pytest.approx(paid)
    routes = [r.arm for d in decisions for r in d.routes]
    assert tally.routes == {arm: routes.count(arm) for arm in set(routes)}
    opinions = [o.junior for d in decisions for o in d.opinions]
    assert tally.spoke == {junior: opinions.count(junior) for junior in set(opinions)}
    assert sum(tally.silent.values()) == sum(len(d.abstentions) for d in decisions)


def test_a_tally_of_nothing_has_no_means(where):
    with open_library(where) as library:
        library.writer(sample_run("empty"))
        tally = reading.tally(library, "empty")
    assert (tally.decisions, tally.acted, tally.hits, tally.commission) == (0, 0, 0, 0.0)
    assert tally.realised is tally.reward is tally.sharpe is None
