"""Whole runs with language models behind a server: recorded, replayed, broken and masked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.bench.hostile import worst
from tests.unit.agents.chat_server import ChatServer, _reply

TRADED = ("decisions.jsonl", "verdicts.jsonl", "orders.csv", "fills.csv", "equity.csv")
SAME = (*TRADED, "results.json", "report.html")
RUNS = ("first", "second")
PROFILE = """
desk: {panel_sessions: 60, decide_every_sessions: 5}
limits: {min_history: 20}
supervisor: {exploration: 5.0}
minds:
  kind: vllm
  vllm: {base_url: "URL", model: tiny, retries: 0, circuit_failures: 1000}
  budgets: {seconds_per_round: 3}
"""


class Minds(ChatServer):
    """Answers in the schema that it is given, or, to some questions, with a fault."""

    faults: tuple[str, ...] = ("good",)

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        fault = self.faults[len(self.asked) % len(self.faults)]
        self.asked.append(body)
        schema = body["response_format"]["json_schema"]["schema"]
        content = json.dumps(worst(schema), separators=(",", ":"))
        reason = "stop"
        if fault == "500":
            _reply(writer, {"error": {"message": "no"}}, 500)
            return
        if fault == "silent":
            await asyncio.sleep(30)
        if fault == "length":
            content, reason = content[:9], "length"
        elif fault != "good":
            content = fault
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        _reply(
            writer,
            {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage},
        )


@pytest.fixture
def server() -> Iterator[Minds]:
    with Minds() as server:
        yield server


@pytest.fixture
def words(workplace: Path, server: Minds) -> list[object]:
    (workplace / "minds.yaml").write_text(PROFILE.replace("URL", server.url))
    return [
        "backtest",
        *("--config", "minds.yaml", "--source", "source"),
        *("--library", "kept/library.sqlite"),
    ]


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_bytes())


def files(folder: Path) -> dict[str, bytes]:
    """Return a run's files without the run's id, which is all that differs on equal libraries."""
    run_id = manifest(folder)["run_id"].encode()
    return {name: (folder / name).read_bytes().replace(run_id, b"") for name in SAME}


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_bytes())


def decisions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_bytes().splitlines()]


def test_a_replayed_run_is_the_recorded_one_to_the_byte_and_asks_nobody(
    command, workplace, words, server
):
    server.faults = ("good", "good", "good", "prose", "500")
    ended = command(*words, "--completions", "record", "--out", "first", cwd=workplace)
    assert ended.code == 0, ended.err
    asked = len(server.asked)
    assert asked > 20
    own = ("--library", "kept/own.sqlite")  # a library without the first run: no earlier trial
    replay = ("--completions", "replay", "--out", "second", *own)
    ended = command(*words, *replay, cwd=workplace)
    assert ended.code == 0, ended.err
    assert len(server.asked) == asked
    assert files(workplace / "second") == files(workplace / "first")
    manifests = [manifest(workplace / folder) for folder in RUNS]
    recorded, replayed = (m.pop("completions") for m in manifests)
    assert recorded == {
        "mode": "record",
        "replayable_digest": "",
        "nonce": recorded["nonce"],
    }
    assert len(bytes.fromhex(recorded["nonce"])) == 8
    assert replayed["nonce"] == ""
    assert len(bytes.fromhex(replayed["replayable_digest"])) == 32
    used = [m.pop("completions_used") for m in manifests]
    assert [u["asked_anew"] for u in used] == [asked, 0]
    assert used[0]["digest"] == used[1]["digest"]
    modes = [m["config"]["minds"].pop("completions") for m in manifests]
    assert modes == ["record", "replay"]
    ids = [m.pop("run_id") for m in manifests]
    assert ids[0] != ids[1]
    assert manifests[0] == manifests[1]

    server.__exit__()  # a replay, and the time machine, need no server
    before = {path.name: path.read_bytes() for path in (workplace / "second").glob("*.*")}
    ended = command(*words, *replay, cwd=workplace)
    assert ended.code == 0, ended.err
    after = {path.name: path.read_bytes() for path in (workplace / "second").glob("*.*")}
    assert {"manifest.json", *SAME} <= {*after}
    assert after == before
    first = decisions(workplace / "first")
    for decision in (first[0], first[-1]):
        ended = command(
            "replay", decision["decision_id"], "--library", "kept/library.sqlite", cwd=workplace
        )
        assert ended.code == 0, ended.out + ended.err
        assert "identical to the byte" in ended.out
    server.__enter__()


def test_a_run_that_may_ask_is_like_no_other_and_a_replay_is_the_run_of_what_is_kept(
    command, workplace, words, server
):
    def run(mode, out, *more):
        given = ("--completions", mode, "--out", out, *more)
        ended = command(*words, *given, cwd=workplace)
        assert ended.code == 0, ended.err
        return manifest(workplace / out)

    first = run("replay-or-live", "first")
    asked = len(server.asked)
    assert first["completions_used"]["asked_anew"] == asked > 20
    known = run("replay-or-live", "known")
    assert known["completions_used"] == first["completions_used"] | {"asked_anew": 0}
    replayed = run("replay", "second")
    assert len(server.asked) == asked
    live = run("live", "live")
    assert live["completions_used"]["asked_anew"] == len(server.asked) - asked == asked
    assert len({m["run_id"] for m in (first, known, replayed, live)}) == 4
    assert len({m["completions"]["nonce"] for m in (first, known, live)}) == 3
    digests = [m["completions"]["replayable_digest"] for m in (known, replayed)]
    assert digests[0] == digests[1] != first["completions"]["replayable_digest"]

    run("record", "other", "--start", "2020-03-23", "--masking", "on")  # more is kept now
    again = run("replay", "again")
    assert again["run_id"] != replayed["run_id"]
    assert again["completions_used"] == replayed["completions_used"]
    for name in TRADED:  # results and report count the library's other runs as trials
        bodies = [(workplace / out / name).read_bytes() for out in ("first", "again", "second")]
        assert bodies[0] == bodies[1] == bodies[2], name


def test_every_fault_is_counted_named_and_never_an_opinion(command, workplace, words, server):
    bad = ("", "NaN", '{"score": 1', '{"sentiment_score": 7}', "x" * 1_000_000)
    server.faults = ("good", "500", "length", *bad)
    ended = command(*words, "--out", "run", cwd=workplace)
    assert ended.code == 0, ended.err
    calls = results(workplace / "run")["language_models"]
    kinds = {kind for role in calls["roles"].values() for kind in role["failures"]}
    assert kinds >= {"unreachable", "truncated", "invalid"}
    assert calls["max_rounds_of_decision"] == 2
    answered = sum(
        role["answers"] for name, role in calls["roles"].items() if name != "strategist"
    )
    made = decisions(workplace / "run")
    assert sum(len(d["opinions"]) for d in made) == answered
    reasons = {a["reason"].split(":")[0] for d in made for a in d["abstentions"]}
    assert reasons >= {"unreachable", "truncated", "invalid"}
    unheard = [p for d in made for p in d["proposals"] if not p["cites"]]
    assert unheard
    assert all((p["action"], p["conviction"]) == ("HOLD", 0.0) for p in unheard)
    report = (workplace / "run" / "report.html").read_text()
    assert "Language models" in report
    assert "truncated (news)" in report


def test_a_server_that_never_answers_costs_its_deadline_and_no_trade(
    command, workplace, words, server
):
    server.faults = ("silent",)
    env = {"QUARTERDECK_MINDS__BUDGETS__SECONDS_PER_ROUND": "0.3"}
    ended = command(*words, "--out", "run", cwd=workplace, env=env)
    assert ended.code == 0, ended.err
    made = decisions(workplace / "run")
    assert not any(d["opinions"] or d["proposals"] for d in made)
    assert {a["reason"].split(":")[0] for d in made for a in d["abstentions"]} >= {"timeout"}


def test_an_open_circuit_falls_to_the_rules_and_is_counted(command, workplace, words, server):
    server.faults = ("500",)
    env = {"QUARTERDECK_MINDS__VLLM__CIRCUIT_FAILURES": "2"}
    ended = command(*words, "--out", "run", cwd=workplace, env=env)
    assert ended.code == 0, ended.err
    roles = results(workplace / "run")["language_models"]["roles"]
    assert sum(role["failures"].get("circuit", 0) for role in roles.values()) > 0
    models = {o["model"] for d in decisions(workplace / "run") for o in d["opinions"]}
    assert models <= {"rules/news-2", "rules/technical-1", "rules/fundamental-1"}
    assert models


def test_a_budget_is_kept_and_what_it_cut_is_named(command, workplace, words, server):
    env = {"QUARTERDECK_MINDS__BUDGETS__CALLS_PER_DECISION": "2"}
    ended = command(*words, "--out", "run", cwd=workplace, env=env)
    assert ended.code == 0, ended.err
    made = decisions(workplace / "run")
    assert len(server.asked) <= 2 * len(made)
    assert {a["reason"].split(":")[0] for d in made for a in d["abstentions"]} >= {"budget"}


def test_masking_both_hides_the_names_and_reports_the_paired_difference(
    command, workplace, words, server
):
    ended = command(*words, "--masking", "both", "--out", "run", "--json", cwd=workplace)
    assert ended.code == 0, ended.err
    prompts = [body["messages"][-1]["content"] for body in server.asked]
    masked = [text for text in prompts if "Company: Company" in text]
    assert masked
    assert not any("AAPL" in text or "IBM" in text for text in masked)
    assert any("AAPL" in text for text in prompts)
    assert "masking" in json.loads(ended.out)
    assert "Masked against unmasked" in (workplace / "run" / "report.html").read_text()
    assert (workplace / "run-unmasked" / "report.html").is_file()


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--completions", "replay"), 2, "expected"),
        (("--completions", "sometimes"), 2, "minds.completions: expected"),
        (("--minds", "oracle"), 2, "minds.kind: expected"),
        (("--masking", "maybe"), 2, "--help"),
        (("--completions-file", "source/AAPL.csv"), 2, "expected"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, workplace, words, options, code, expected):
    ended = command(*words, *options, "--out", "run", cwd=workplace)
    assert (ended.code, ended.out) == (code, "")
    assert expected in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (workplace / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "code", "expected"),
    [
        ("VLLM__BASE_URL", "http://127.0.0.1:9/v1", 1, "127.0.0.1:9"),
        ("VLLM__MODEL", "huge", 2, "huge"),
        ("VLLM__WEIGHTS", "0123456789abcdef", 2, "expected"),
        ("EMBEDDED__PATH", "nowhere", 2, "nowhere"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(
    command, workplace, words, name, value, code, expected
):
    env = {f"QUARTERDECK_MINDS__{name}": value}
    minds = ("--minds", "embedded" if name.startswith("EMBEDDED") else "vllm")
    ended = command(*words, *minds, "--out", "run", cwd=workplace, env=env)
    assert ended.code == code, ended.err
    assert expected in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (workplace / "run").exists()
