"""The library's behaviour, the same on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from agents.messages import (
    Case,
    Decision,
    FillRecord,
    Outcome,
    Reward,
    SessionReturns,
    Verdict,
    VerdictLine,
)
from backtest.statistics.trials import Trial
from config.errors import ConfigError, DataError
from learning.experience import writer as writer_module
from learning.experience.library import ModelInfo, RunInfo, open_library
from learning.experience.reading import tally
from ops.bench.library import sample_records, sample_run


def postgres_bin() -> Path | None:
    """Return the folder of the system's newest PostgreSQL binaries, None where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: str(p))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def postgres():
    """Start a real PostgreSQL on a Unix socket in a temporary folder; skip without binaries."""
    binaries = postgres_bin()
    if binaries is None:
        pytest.skip("no PostgreSQL binaries (initdb) on this system")
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="qdpg") as folder:
        data = Path(folder) / "data"
        if user:
            shutil.chown(folder, user)
        init = ["initdb", "-D", data, "-U", "qd", "-A", "trust", "--no-sync", "-E", "UTF8"]
        init += ["--locale=C"]
        serve = ["postgres", "-D", data, "-k", folder, "-h", "", "-F"]
        common = {"user": user, "cwd": folder, "env": {"LC_ALL": "C"}}
        subprocess.run([binaries / init[0], *init[1:]], check=True, capture_output=True, **common)
        server = subprocess.Popen(
            [binaries / serve[0], *serve[1:]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **common,
        )
        try:
            subprocess.run(
                [
                    "bash",
                    "-c",
                    f"for i in $(seq 200); do '{binaries}/pg_isready' -q -h {folder} && exit 0;"
                    " sleep 0.1; done; exit 1",
                ],
                check=True,
            )
            yield f"postgresql://qd@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(timeout=20)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Give an empty database of each kind: a file, or a fresh database of the server."""
    if request.param == "sqlite":
        return str(tmp_path / "library.db")
    url = request.getfixturevalue("postgres")
    import psycopg

    name = f"qd_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


def write(library, records, run_id="sample", created_at=None):
    writer = library.writer(sample_run(run_id), created_at=created_at)
    for record in records:
        writer.add(record)
    writer.flush()


def test_every_record_becomes_its_rows(where):
    records = list(sample_records(5, instruments=3))
    decisions = [r for r in records if isinstance(r, Decision)]
    with open_library(where) as library:
        write(library, records)
        counts = library.counts("sample")
    assert counts["cases"] == counts["decisions"] == counts["allocations"] == 5
    assert counts["routes"] == counts["proposals"] == counts["outcomes"] == 15
    assert counts["opinions"] == sum(len(d.opinions) + len(d.abstentions) for d in decisions)
    assert counts["orders"] == counts["fills"] > 0
    assert counts["verdicts"] == 5
    assert counts["rewards"] == 20


def test_adding_twice_adds_once(where):
    records = list(sample_records(4))
    with open_library(where) as library:
        write(library, records)
        once = library.counts("sample")
        write(library, records + records)
        assert library.counts("sample") == once


def test_a_decision_comes_back_byte_for_byte(where):
    records = list(sample_records(3))
    decision = next(r for r in records if isinstance(r, Decision))
    with open_library(where) as library:
        write(library, records)
        assert library.decision(decision.decision_id) == decision
        stored = library.decision_json(decision.decision_id, "sample")
        assert stored == msgspec.json.encode(decision)
        assert library.decision("no such id") is None
        assert library.decision(decision.decision_id, "no such run") is None


def test_a_case_can_be_rebuilt_whole(where):
    case = next(r for r in sample_records(1) if isinstance(r, Case))
    with open_library(where) as library:
        write(library, [case])
        rebuilt = library.case(case.decision_id)
    assert rebuilt == case
    assert rebuilt.decision_id == case.decision_id


def test_top_gives_the_best_first_with_their_outcomes(where):
    records = list(sample_records(40))
    rewards = {
        r.decision_id: r.value
        for r in records
        if isinstance(r, Reward) and r.learner == "decision"
    }
    with open_library(where) as library:
        write(library, records)
        best = library.top(min_reward=0.6, limit=1000)
        assert [x.reward for x in best] == sorted(
            (v for v in rewards.values() if v >= 0.6), reverse=True
        )
        for x in best:
            assert x.reward == rewards[x.decision.decision_id]
            assert x.outcomes == tuple(
                r
                for r in records
                if isinstance(r, Outcome) and r.decision_id == x.decision.decision_id
            )
        assert library.top(min_reward=0.0, limit=3) == library.top(min_reward=0.0)[:3]
        assert library.top(run_id="another", min_reward=0.0) == []


def test_failed_gives_the_worst_first(where):
    with open_library(where) as library:
        write(library, sample_records(40))
        everything = library.top(min_reward=-10.0)
        worst = library.failed(max_reward=everything[20].reward)
    assert worst == everything[20:][::-1]


def test_experiences_are_found_by_regime_and_by_junior(where):
    records = list(sample_records(30, instruments=1))
    decisions = [r for r in records if isinstance(r, Decision)]
    with open_library(where) as library:
        write(library, records)
        bears = [x.decision for x in library.by_regime("bear")]
        spoken = [x.decision for x in library.by_junior("news")]
        assert len(library.by_junior("news", limit=2)) == 2
    newest = sorted(decisions, key=lambda d: -d.ts_event)
    assert bears == [d for d in newest if d.allocation.regime == "bear"]
    assert spoken == [d for d in newest if any(o.junior == "news" for o in d.opinions)]


def test_two_verdicts_of_one_decision_are_two_rows(where):
    line = VerdictLine(symbol="A", held=0.1, asked=0.1, allowed=0.0, limit="stop")
    first = Verdict(decision_id="d", ts_event=1, ts_init=1, stage="risk", lines=(line,))
    second = msgspec.structs.replace(first, lines=(msgspec.structs.replace(line, symbol="B"),))
    with open_library(where) as library:
        write(library, [first, second, first])
        assert library.counts("sample")["verdicts"] == 2


def test_the_newest_run_answers_for_a_decision_of_many_runs(where):
    records = list(sample_records(1))
    decision = next(r for r in records if isinstance(r, Decision))
    other = msgspec.structs.replace(decision, minds="other")
    with open_library(where) as library:
        write(library, [other], run_id="a", created_at=2)
        write(library, [decision], run_id="b", created_at=1)
        assert library.decision(decision.decision_id).minds == "other"
        assert library.decision(decision.decision_id, "b").minds == "rules"


def test_a_run_is_entered_finished_and_taken_up_again(where):
    model = ModelInfo(role="supervisor", name="neural_ucb", sha256="ab", window_end=7)
    run = RunInfo(
        run_id="r",
        name="first",
        config='{"a":1}',
        data_digest="d",
        code_version="c",
        seed=3,
        start_state="prior",
        source_digest="",
        models=(model,),
    )
    with open_library(where) as library:
        library.writer(run, created_at=5)
        assert [r.status for r in library.runs()] == ["running"]
        library.finish_run("r", "interrupted")
        assert [r.status for r in library.runs()] == ["interrupted"]
        library.writer(run, created_at=9)
        library.finish_run("r", "completed")
        (row,) = library.runs()
        assert (row.status, row.created_at, row.config, row.seed) == ("completed", 5, '{"a":1}', 3)
        assert library.models("r") == [model]
        with pytest.raises(ConfigError, match="expected a run in the library"):
            library.finish_run("nobody", "failed")
        with pytest.raises(ConfigError, match="expected a status"):
            library.finish_run("r", "done")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"data_digest": "e"}, "data_digest"),
        ({"code_version": "e", "seed": 4}, "code_version, seed"),
        ({"manifest": '{"libraries":{"numpy":"2"},"name":"n"}'}, "libraries"),
        ({"manifest": '{"completions":{"nonce":"b"},"name":"n"}'}, "libraries, completions"),
    ],
)
def test_another_run_under_a_held_id_is_refused_and_the_held_one_stays(where, other, named):
    run = replace(sample_run(), manifest='{"libraries":{"numpy":"1"},"name":"m"}')
    with open_library(where) as library:
        library.writer(run)
        library.finish_run("sample", "interrupted", earned(0.5))
        before = library.runs()
        with pytest.raises(DataError, match=r"^expected run sample as the library ") as caught:
            library.writer(replace(run, **other))
        assert f"was one of other {named}: two runs are never kept under one id" in str(
            caught.value
        )
        assert library.runs() == before
        elsewhere = '{"libraries":{"numpy":"1"},"name":"what is no part of the id"}'
        library.writer(replace(run, manifest=elsewhere))


@pytest.mark.parametrize("kind", [Decision, Outcome, Reward, FillRecord, SessionReturns])
def test_a_row_that_is_not_the_one_held_is_refused_and_nothing_is_written(where, kind):
    changes = {
        Decision: {"minds": "other"},
        Outcome: {"realised": 7.0},
        Reward: {"value": 7.0},
        FillRecord: {"price": 7.0},
        SessionReturns: {"returns": (7.0,) * 4},
    }
    records = list(sample_records(6))
    known, new = records[: len(records) // 2], records[len(records) // 2 :]
    changed = msgspec.structs.replace(
        next(r for r in known if isinstance(r, kind)), **changes[kind]
    )
    with open_library(where) as library:
        write(library, known)
        before = library.counts("sample")
        with pytest.raises(DataError, match=r"^expected the row of \w+ sample/") as caught:
            write(library, [*new, changed])
        assert "two runs are never kept under one id" in str(caught.value)
        assert library.counts("sample") == before
        write(library, records)
        assert library.counts("sample")["decisions"] == 6


def test_a_completed_run_takes_no_new_row_and_stays_completed(where):
    records = list(sample_records(3))
    with open_library(where) as library:
        write(library, records)
        library.finish_run("sample", "completed", earned(0.25))
        held = library.counts("sample")
        with pytest.raises(DataError, match="expected no new row of cases in run sample, which "):
            write(library, sample_records(4))
        assert library.counts("sample") == held
        library.finish_run("sample", "failed")
        write(library, records)
        assert library.counts("sample") == held
        library.finish_run("sample", "interrupted")
        assert [r.status for r in library.runs()] == ["completed"]
        library.writer(sample_run("new"))
        assert [t.sharpe for t in library.trials("new", 1, 4)] == [0.25]


def test_pages_walk_every_experience_once(where):
    with open_library(where) as library:
        write(library, sample_records(23), run_id="a")
        write(library, sample_records(11), run_id="b")
        walked = [x for page in library.pages(size=5) for x in page]
        assert len(walked) == 34
        keys = [(x.run_id, x.decision.decision_id) for x in walked]
        assert keys == sorted(set(keys))
        assert sum(len(page) for page in library.pages("b", size=4)) == 11


def test_a_full_buffer_commits_only_whole_decisions(where, monkeypatch):
    monkeypatch.setattr(writer_module, "BUFFER_ROWS", 10)
    records = list(sample_records(6, instruments=3))
    with open_library(where) as library, open_library(where) as reader:
        writer = library.writer(sample_run())
        for record in records:
            writer.add(record)
            counts = reader.counts("sample")
            assert counts["cases"] == counts["decisions"] == counts["allocations"]
            assert counts["routes"] == counts["proposals"] == 3 * counts["decisions"]
        assert reader.counts("sample")["decisions"] > 0


def test_a_part_without_its_decision_is_refused_and_nothing_is_written(where):
    records = list(sample_records(2))
    orphan = next(r for r in records if isinstance(r, Outcome))
    stranger = msgspec.structs.replace(orphan, decision_id="stranger")
    with open_library(where) as library:
        with pytest.raises(DataError, match=r"^expected rows that fit"):
            write(library, [*records, stranger])
        assert not any(library.counts("sample").values())


def test_what_is_no_record_is_refused(where):
    with open_library(where) as library, pytest.raises(DataError, match="expected a record"):
        write(library, [r.macro for r in sample_records(1) if isinstance(r, Case)])


def test_the_migration_makes_exactly_the_models_tables(where):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from learning.experience.models import KNOWN_SCHEMAS, SCHEMA, metadata
    from learning.experience.store import MIGRATIONS, migrate, writing

    scripts = ScriptDirectory(str(MIGRATIONS))
    assert scripts.get_current_head() == SCHEMA
    assert [s.revision for s in scripts.walk_revisions()][::-1] == list(KNOWN_SCHEMAS)
    with open_library(where) as library:
        with library.engine.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, metadata) == []
        with writing(library.engine).begin() as connection:
            migrate(connection, "base")
            tables = "sqlite_master" if where.endswith(".db") else "pg_tables"
            column = "name" if where.endswith(".db") else "tablename"
            left = connection.execute(
                text(f"SELECT count(*) FROM {tables} WHERE {column} IN ('runs', 'decisions')")
            )
            assert left.scalar_one() == 0


def earned(sharpe, first=1, last=4):
    ts = np.arange(first, last + 1)
    return Trial("", sharpe, ts, sharpe * np.sin(ts))


def of_source(run_id, source):
    return replace(sample_run(run_id), source_digest=source)


def test_completed_runs_of_a_source_are_the_trials_of_a_new_one_oldest_first(where):
    with open_library(where) as library:
        for at, (run_id, sharpe) in enumerate((("b", 0.1), ("a", None), ("c", 0.2))):
            library.writer(of_source(run_id, "one"), created_at=at)
            kept = None if sharpe is None else earned(sharpe)
            library.finish_run(run_id, "completed", kept, 252)
        library.writer(of_source("new", "one"), created_at=9)
        library.writer(of_source("other", "two"), created_at=10)
        found = library.trials("new", 1, 4)
        assert [(t.name, t.sharpe) for t in found] == [("b", 0.1), ("c", 0.2)]
        assert found[1].ts.tolist() == [1, 2, 3, 4]
        assert found[1].excess.tolist() == earned(0.2).excess.tolist()
        assert [t.name for t in library.trials("c", 1, 4)] == ["b"]
        assert library.trials("other", 1, 4) == library.trials("nobody", 1, 4) == ()


def test_only_runs_whose_sessions_overlap_are_trials(where):
    with open_library(where) as library:
        library.writer(of_source("early", "one"))
        library.finish_run("early", "completed", earned(0.1, 10, 20), 252)
        library.writer(of_source("new", "one"))
        for first, last, count in ((21, 30, 0), (20, 30, 1), (1, 10, 1), (1, 9, 0), (12, 13, 1)):
            assert len(library.trials("new", first, last)) == count


def test_an_interrupted_run_is_no_trial_until_it_completes_and_then_stays_one(where):
    with open_library(where) as library:
        library.writer(of_source("a", "one"))
        library.writer(of_source("new", "one"))
        library.finish_run("a", "interrupted")
        assert library.trials("new", 1, 4) == ()
        library.writer(of_source("a", "one"))
        library.finish_run("a", "completed", earned(0.1), 252)
        library.writer(of_source("a", "one"))
        assert [t.sharpe for t in library.trials("new", 1, 4)] == [0.1]
        library.finish_run("a", "failed")
        assert [t.sharpe for t in library.trials("new", 1, 4)] == [0.1]


def test_a_library_of_the_first_schema_gets_the_table_of_returns_and_keeps_its_rows(tmp_path):
    from learning.experience.store import writing

    path = tmp_path / "old.db"
    with open_library(path) as library:
        write(library, [r for r in sample_records(2) if not isinstance(r, SessionReturns)])
        before = library.counts("sample")
        with writing(library.engine).begin() as connection:
            to_second_schema(connection)
            connection.exec_driver_sql("DROP TABLE session_returns")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with open_library(path, create=False) as library:
        assert library.counts("sample") == before
        write(library, sample_records(2))
        assert library.counts("sample") == before | {"session_returns": 2}


def to_second_schema(connection):
    connection.exec_driver_sql("DROP TABLE run_returns")
    for column in ("source_digest", "sessions_per_year"):
        connection.exec_driver_sql(f"ALTER TABLE runs DROP COLUMN {column}")
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")


def test_runs_of_a_library_of_the_second_schema_go_on_counting_by_their_ratio(tmp_path):
    from learning.experience.store import writing

    path = tmp_path / "old.db"
    with open_library(path) as library:
        library.writer(sample_run("old"))
        with writing(library.engine).begin() as connection:
            connection.exec_driver_sql("UPDATE runs SET sharpe = 0.25, status = 'completed'")
            to_second_schema(connection)
    with open_library(path, create=False) as library:
        library.writer(of_source("new", "the whole source"))
        (trial,) = library.trials("new", 1, 4)
        assert (trial.name, trial.sharpe, len(trial.ts)) == ("old", 0.25, 0)
        assert tally(library, "old").sessions_per_year == 252
