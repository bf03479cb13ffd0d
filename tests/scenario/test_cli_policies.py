"""Trained policies through the real command line: named, dated, replayed, or refused."""

from __future__ import annotations

import json

import pytest

from agents.allocator.policy_file import CARD_FILE, read_card, save_policy
from agents.messages import TrainingRecord
from tests.unit.agents.policies import card, network

BEFORE = 1_500_000_000_000_000_000  # 2017, before the tiny market's first session
AFTER = 1_700_000_000_000_000_000


@pytest.fixture
def policies(tmp_path, finished):
    """Return a maker of a folder of policies that were trained until a stamp."""
    manifest = json.loads((finished / "kept" / "run" / "manifest.json").read_bytes())
    groups = tuple(sorted({i["group"] for i in manifest["instruments"]}))

    def make(last_ts=BEFORE):
        for kind in ("top", "bottom"):
            record = TrainingRecord(source="h1", digest="d", first_ts=0, last_ts=last_ts)
            made = card(kind, book="equity", groups=groups, trained=record)
            save_policy(tmp_path / "policies" / made.slot, network(kind), made)
        return tmp_path / "policies"

    return make


@pytest.fixture
def backtest(command, finished, tmp_path):
    def run(folder, out="run"):
        words = ("--config", "small.yaml", "--source", "source", "--allocator", folder)
        places = ("--out", tmp_path / out, "--library", tmp_path / "library.sqlite")
        return command("backtest", *words, *places, cwd=finished)

    return run


def _page(path):
    return json.loads(path.read_bytes())


def test_a_backtest_trades_by_policies_and_names_them(backtest, policies, finished, tmp_path):
    ended = backtest(policies())
    assert (ended.code, ended.err.strip()) == (0, "")
    notes = _page(tmp_path / "run" / "results.json")["notes"]
    assert not any("OVERLAP" in n or "untrained" in n for n in notes)
    assert any(n.startswith("allocator, top: ppo-top, trained on h1, 1970") for n in notes)
    assert "ppo-bottom" in (tmp_path / "run" / "report.html").read_text()
    own, other = (_page(p / "manifest.json") for p in (tmp_path / "run", finished / "kept/run"))
    assert own["run_id"] != other["run_id"]
    assert own["policies"]["top"]["trained"]["last_ts"] == BEFORE
    decisions = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()
    last = json.loads(decisions[-1])["allocation"]
    assert (last["top_policy"], last["bottom_policy"]) == ("ppo-top", "ppo-bottom")
    assert sum(abs(w) for w in last["weights"].values()) > 0.1


def test_a_decision_by_policies_is_made_again_to_the_byte(backtest, policies, command, tmp_path):
    folder = policies()
    assert backtest(folder).code == 0
    decisions = (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()
    words = ("replay", json.loads(decisions[-1])["decision_id"])
    library = ("--library", tmp_path / "library.sqlite")
    again = command(*words, *library, cwd=tmp_path)
    assert again.code == 0, again.err
    save_policy(folder / "bottom", network(seed=9), read_card(folder / "bottom"))
    other = command(*words, *library, cwd=tmp_path)
    assert other.code != 0
    assert "minds: allocator-bottom" in other.out


def test_a_run_on_what_its_policies_were_trained_on_says_so_first(backtest, policies, tmp_path):
    assert backtest(policies(AFTER)).code == 0
    first, second, *_ = _page(tmp_path / "run" / "results.json")["notes"]
    assert first.startswith("OVERLAP: policy ppo-bottom was trained until 2023-11-14T22:13:20Z")
    assert second.startswith("OVERLAP: policy ppo-top was trained until 2023-11-14T22:13:20Z")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: (p / "top" / CARD_FILE).unlink(), "expected a policy at"),
        (lambda p: (p / "top" / "policy.safetensors").write_bytes(b""), "expected SHA-256"),
        (
            lambda p: (p / "top" / CARD_FILE).write_text('{"observation_version": 2}'),
            "expected observation version 1, was 2",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_ends_the_command_in_one_line(
    spoil, words, backtest, policies, tmp_path
):
    folder = policies()
    spoil(folder)
    ended = backtest(folder)
    assert ended.code == 2
    assert ended.out.strip() == ""
    assert ended.err.startswith("quarterdeck: ")
    assert ended.err.count("\n") == 1
    assert words in ended.err
    assert not (tmp_path / "run").exists()
