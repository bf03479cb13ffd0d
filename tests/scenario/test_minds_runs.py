"""Whole runs with language models behind a server: recorded, replayed, broken and masked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.hostile import worst
from tests.unit.agents.chat_server import ChatServer, _reply

SAME = (
    "decisions.jsonl",
    "verdicts.jsonl",
    "orders.csv",
    "fills.csv",
    "equity.csv",
    "results.json",
    "report.html",
)
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
        *("--profile", "minds.yaml", "--source", "source"),
        *("--library", "kept/library.sqlite"),
    ]


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
    replay = ("--completions", "replay", "--out", "second")
    ended = command(*words, *replay, cwd=workplace)
    assert ended.code == 0, ended.err
    assert len(server.asked) == asked
    manifests = [json.loads((workplace / f / "manifest.json").read_bytes()) for f in RUNS]
    modes = [manifest["config"]["minds"].pop("completions") for manifest in manifests]
    assert modes == ["record", "replay"]
    assert manifests[0] == manifests[1]
    for name in SAME:
        assert (workplace / "first" / name).read_bytes() == (
            workplace / "second" / name
        ).read_bytes(), name

    server.__exit__()  # a replay, and the time machine, need no server
    ended = command(*words, *replay, cwd=workplace)
    assert ended.code == 0, ended.err
    first = decisions(workplace / "first")
    for decision in (first[0], first[-1]):
        ended = command(
            "replay", decision["decision_id"], "--library", "kept/library.sqlite", cwd=workplace
        )
        assert ended.code == 0, ended.out + ended.err
        assert "identical to the byte" in ended.out
    server.__enter__()


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
    assert models <= {"rules/news-1", "rules/technical-1", "rules/fundamental-1"}
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
