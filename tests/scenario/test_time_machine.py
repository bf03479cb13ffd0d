"""A recorded decision made again from the library alone, and made otherwise."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agents.messages import Case
from learning.experience.library import open_library
from learning.experience.reading import decision_keys
from learning.experience.replaying import read_feedback, read_panel
from ops.composition.time_machine import compare

LIBRARY = "kept/library.sqlite"


@pytest.fixture(scope="module")
def decided(finished):
    """Return the finished run's decision ids, oldest first."""
    with open_library(finished / LIBRARY) as library:
        (run,) = library.runs()
        return [key.decision_id for key in decision_keys(library, run.run_id)]


@pytest.fixture(scope="module")
def newsworthy(finished, decided):
    """Return the newest decision that asked the news junior, and the symbols that had news."""
    with open_library(finished / LIBRARY) as library:
        (run,) = library.runs()
        for key in reversed(decided):
            if any("news" in r.juniors for r in library.decision(key, run.run_id).routes):
                return key, {item.symbol for item in library.case(key).news}
    raise AssertionError("no decision asked the news junior")


@pytest.fixture
def replay(command, finished):
    def run(*words, library=LIBRARY, cwd=finished):
        return command("replay", *words, "--library", library, cwd=cwd)

    return run


@pytest.fixture
def spoiled(finished, tmp_path):
    """Return a maker of a copy of the library in which one statement was run."""

    def spoil(statement, *values) -> Path:
        with closing(sqlite3.connect(finished / LIBRARY)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(finished / LIBRARY, tmp_path / "spoiled.sqlite")
        with closing(sqlite3.connect(tmp_path / "spoiled.sqlite")) as db:
            assert db.execute(statement, values).rowcount >= 1
            db.commit()
        return tmp_path / "spoiled.sqlite"

    return spoil


@pytest.mark.parametrize("place", [0, 15, -1])
def test_a_decision_is_made_again_to_the_byte(replay, decided, place):
    ended = replay(decided[place], "--json")
    facts = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert facts["identical"] is True
    assert facts["recorded_sha256"] == facts["replayed_sha256"]
    assert all(check["same"] for check in facts["checks"])
    named = {check["what"] for check in facts["checks"]}
    assert {"code", "numpy", "case", "panel", "start state", "track records"} <= named
    assert {"minds: news", "minds: strategist", "minds: supervisor"} <= named


def test_the_last_decision_stands_on_feedback(finished, decided):
    with open_library(finished / LIBRARY) as library:
        (run,) = library.runs()
        case = library.case(decided[-1])
        feedback = read_feedback(library, run.run_id, case.ts_init)
        outcomes = [o for key in decided for o in library.outcomes(key, run.run_id)]
    assert len(feedback) == len(outcomes) > 30
    stamps = [item.outcome.ts_event for item in feedback]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= case.ts_init
    record = {r.junior: r for r in case.track}
    assert sum(r.calls for r in record.values()) > 0


def test_the_panel_of_every_case_comes_back_to_the_bit(finished, decided):
    with open_library(finished / LIBRARY) as library:
        (run,) = library.runs()
        rows = set()
        for key in decided:
            case = library.case(key)
            symbols = [state.symbol for state in case.instruments]
            panel = read_panel(library, run.run_id, case.ts_init, symbols, 60)
            digest = hashlib.sha256(panel.returns.tobytes()).hexdigest()
            assert digest == case.panel_digest
            rows.add(len(panel.returns))
    assert max(rows) == 60 > min(rows)


def test_a_page_for_people_says_so_too(replay, decided):
    ended = replay(decided[3][:10])
    assert ended.code == 0, ended.err
    assert f"decision {decided[3]} of run " in ended.out
    assert "identical to the byte: " in ended.out
    assert "DIFFERS" not in ended.out


def test_a_changed_outcome_shows_as_other_track_records(replay, decided, spoiled):
    change = "UPDATE outcomes SET instrument_return = -10 * instrument_return"
    ended = replay(decided[-1], "--json", library=spoiled(change))
    facts = json.loads(ended.out)
    assert (ended.code, facts["identical"]) == (0, True)  # the case holds the records it was given
    assert [c["what"] for c in facts["checks"] if not c["same"]] == ["track records"]
    page = replay(decided[-1], library=spoiled(change)).out
    assert "though not the same: track records" in page


def test_a_changed_reward_shows_in_the_scores_of_the_routes(replay, decided, spoiled):
    change = "UPDATE rewards SET value = value + 1 WHERE learner = 'supervisor' AND symbol = 'IBM'"
    ended = replay(decided[-1], "--json", library=spoiled(change))
    facts = json.loads(ended.out)
    assert (ended.code, facts["identical"]) == (1, False)
    assert facts["differing_fields"] > 0
    first = facts["differences"][0]
    assert first["path"].startswith("routes[0 AAPL].")
    assert first["recorded"] != first["now"]
    assert replay(decided[0], library=spoiled(change)).code == 0  # it had learned nothing yet


def test_a_changed_panel_row_is_named_and_a_broken_one_refused(replay, finished, decided, spoiled):
    with open_library(finished / LIBRARY) as library:
        stamp = library.case(decided[-1]).ts_event
    change = (
        "UPDATE session_returns SET body = json_set(body, '$.returns[0]', ?) WHERE ts_event = ?"
    )
    ended = replay(decided[-1], "--json", library=spoiled(change, 0.5, stamp))
    facts = json.loads(ended.out)
    assert ended.code == 1
    assert [c["what"] for c in facts["checks"] if not c["same"]] == ["panel"]
    assert facts["differences"][0]["path"].startswith("allocation.")
    spoil = "UPDATE session_returns SET body = 'none' WHERE ts_event = ?"
    ended = replay(decided[-1], library=spoiled(spoil, stamp))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "expected a session's returns" in ended.err


def test_a_changed_decision_differs_in_that_field_alone(replay, decided, spoiled):
    change = (
        'UPDATE decisions SET body = replace(body, \'"trigger":"schedule"\', '
        '\'"trigger":"news"\') WHERE decision_id = ?'
    )
    ended = replay(decided[2], library=spoiled(change, decided[2]))
    assert ended.code == 1
    assert "recorded" in ended.out
    assert "trigger" in ended.out
    facts = json.loads(replay(decided[2], "--json", library=spoiled(change, decided[2])).out)
    assert facts["differences"] == [{"path": "trigger", "recorded": '"news"', "now": '"schedule"'}]


def test_a_run_of_before_returns_were_kept_says_what_is_missing(replay, decided, spoiled):
    ended = replay(decided[4], library=spoiled("DELETE FROM session_returns"))
    assert ended.code == 1
    assert "none kept" in ended.out
    assert "could not be made again" in ended.out


def test_a_run_from_a_snapshot_needs_its_state(command, finished, tmp_path, replay):
    words = ("--config", "small.yaml", "--source", "source", "--state", "kept/run/state")
    places = ("--out", tmp_path / "run", "--library", tmp_path / "l.sqlite")
    assert command("backtest", *words, *places, cwd=finished).code == 0
    with open_library(tmp_path / "l.sqlite") as library:
        (run,) = library.runs()
        last = decision_keys(library, run.run_id)[-1].decision_id
    facts = json.loads(replay(last, "--json", library=tmp_path / "l.sqlite").out)
    assert "start state" in [c["what"] for c in facts["checks"] if not c["same"]]
    state = ("--state", "kept/run/state")
    assert replay(last, *state, library=tmp_path / "l.sqlite").code == 0


def test_without_a_junior_its_opinions_are_gone_and_nothing_is_called_equal(replay, newsworthy):
    facts = json.loads(replay(newsworthy[0], "--without", "news", "--json").out)
    assert "identical" not in facts
    sides = [s[which] for s in facts["instruments"].values() for which in ("original", "what_if")]
    asked = [s["juniors"] for s in sides[1::2]]
    assert all("news" not in juniors for juniors in asked)
    assert any("news" in s["juniors"] for s in sides[::2])
    assert all("news" not in s["scores"] for s in sides[1::2])


def test_a_what_if_is_headed_by_its_change(replay, newsworthy):
    page = replay(newsworthy[0], "--without", "technical", "--minds", "rules").out
    assert "what if: without technical, minds rules (rules | rules)\n" in page


def test_without_all_juniors_nobody_is_asked(replay, decided):
    words = [w for j in ("news", "technical", "fundamental") for w in ("--without", j)]
    facts = json.loads(replay(decided[-1], *words, "--json").out)
    for side in facts["instruments"].values():
        assert side["what_if"]["juniors"] == []
        assert side["what_if"]["conviction"] is None


def test_a_forced_route_asks_just_these_juniors_where_they_have_evidence(replay, newsworthy):
    key, heard = newsworthy
    sides = json.loads(replay(key, "--route", "technical+news", "--json").out)["instruments"]
    assert any(symbol in heard for symbol in sides)
    for symbol, side in sides.items():
        wanted = ["news", "technical"] if symbol in heard else ["technical"]
        assert side["what_if"]["juniors"] == wanted
    page = replay(key, "--route", "technical").out
    for word in ("original", "what if: route technical\n", "change", "AAPL", "weight"):
        assert word in page


def test_the_same_minds_as_a_what_if_change_nothing(replay, decided):
    facts = json.loads(replay(decided[-1], "--minds", "rules", "--json").out)
    for side in facts["instruments"].values():
        assert side["original"] == side["what_if"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["abcdefabcdef"], "expected a decision"),
        (["abc"], "expected"),
        (["{known}", "--run", "ffffffffff"], "expected a run"),
        (["{known}", "--without", "astrology"], "was 'astrology'"),
        (["{known}", "--route", "news+tea"], "was 'tea'"),
        (["{known}", "--minds", "owls"], "was 'owls'"),
        (["{known}", "--state", "nowhere"], "expected a snapshot"),
    ],
)
def test_what_is_not_there_ends_in_one_line(replay, decided, words, said):
    ended = replay(*(word.replace("{known}", decided[0]) for word in words))
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def test_fields_are_compared_by_their_paths():
    recorded = {"a": [{"symbol": "X", "v": 1}, {"symbol": "Y", "v": 2}], "b": 1.0, "c": None}
    now = {"a": [{"symbol": "X", "v": 1}, {"symbol": "Y", "v": 3}], "b": 1, "d": "new"}
    assert [(d.path, d.recorded, d.now) for d in compare(recorded, now)] == [
        ("a[1 Y].v", "2", "3"),
        ("b", "1.0", "1"),
        ("d", "none", '"new"'),
    ]
    assert [d.path for d in compare([1, 2], [1])] == ["[1]"]
    assert compare(recorded, recorded) == ()


def test_a_case_keeps_its_id_when_it_is_read_again(finished, decided):
    with open_library(finished / LIBRARY) as library:
        for key in decided:
            case = library.case(key)
            assert msgspec.json.decode(msgspec.json.encode(case), type=Case).decision_id == key
            assert np.isfinite(case.portfolio.equity)
