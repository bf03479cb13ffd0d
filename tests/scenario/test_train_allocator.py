"""The allocator's training through the real command line: phases, kills, resumes, refusals."""

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest

SMALL = """
dataset: {name: multi-asset, seeds: 4, sessions: 150}
episode: {sessions: 60, min_sessions: 40, warm_up: 50, cohort: 4}
specialist_timesteps: 512
meta_timesteps: 1024
ppo: {envs: 8, n_steps: 64, batch_size: 256, epochs: 2, checkpoint_every: 1}
joint:
  timesteps: 3072
  envs: 16
  rollout_steps: 16
  minibatch: 128
  epochs: 2
  checkpoint_every: 1
  critic_updates: 1
  curriculum: {crises: 0, stretch_sessions: 30}
"""
TRAIN = ("train", "allocator", "--book", "multi-asset", "--config", "small.yaml")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    (folder / "small.yaml").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def trained(command, place):
    """Return the folder of a training that nobody disturbed, and how it ended."""
    return place / "whole", command(*TRAIN, "--out", "whole", "--json", cwd=place)


@pytest.mark.slow
def test_three_phases_run_and_leave_policies_curves_and_a_summary(trained):
    folder, ended = trained
    assert (ended.code, ended.err.strip()) == (0, "")
    summary = json.loads(ended.out)
    assert list(summary["phases"]) == ["specialists", "meta", "joint"]
    slots = {p.name for p in (folder / "policies").iterdir()}
    assert slots == {"top", "bottom-commodity", "bottom-forex", "bottom-index"}
    for number, phase in enumerate(("meta", "joint"), start=2):
        assert (folder / f"{number}-{phase}" / "curve.png").stat().st_size > 1_000
        assert list((folder / f"{number}-{phase}" / "tensorboard").iterdir())


@pytest.mark.slow
def test_a_kill_in_the_joint_phase_and_a_resume_end_as_if_nothing_had_been(
    command, place, trained
):
    whole, _ = trained
    pid = command.start(*TRAIN, "--out", "killed", cwd=place)
    checkpoints = place / "killed" / "3-joint" / "checkpoints"
    deadline = time.monotonic() + 240
    while len(list(checkpoints.glob("step-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    assert command.end().code == 128 + signal.SIGKILL
    assert not (place / "killed" / "3-joint" / "result.json").exists()
    assert command(*TRAIN, "--out", "killed", "--resume", cwd=place).code == 0
    for name in ("3-joint/curve.csv", "policies/top/policy.safetensors"):
        assert (place / "killed" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(command, place, trained):
    folder, _ = trained
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")}
    assert command(*TRAIN, "--out", "whole", "--resume", cwd=place).code == 0
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")} == before


@pytest.mark.slow
def test_an_evaluation_stands_beside_baselines_on_held_out_markets(command, place, trained):
    ended = command("evaluate", "allocator", "whole", "--no-oracles", "--json", cwd=place)
    assert ended.code == 0
    report = json.loads(ended.out)
    names = [v["name"] for v in report["evaluations"]["book"]]
    assert {"buy-and-hold", "equal weight", "hierarchical risk parity", "joint"} <= set(names)
    assert "joint less specialists, equal budgets" in report["differences"]
    assert (trained[0] / "test" / "examination.png").stat().st_size > 1_000


@pytest.mark.slow
def test_an_evaluation_on_fresh_markets_has_seeds_after_the_trainings(command, place, trained):
    book = json.loads((trained[0] / "training.json").read_text())["settings"]["dataset"]
    beyond = book["first_seed"] + book["seeds"]
    words = ("--fresh-markets", "3", "--no-oracles", "--json", "--out", "fresh")
    ended = command("evaluate", "allocator", "whole", *words, cwd=place)
    assert ended.code == 0
    report = json.loads(ended.out)
    assert report["market_seeds"] == [beyond, beyond + 1, beyond + 2]
    assert [market for market, _, _ in report["windows"]] == [0, 1, 2]


@pytest.mark.slow
def test_fresh_markets_begin_at_the_seed_that_is_named(command, place, trained):
    words = ("--fresh-markets", "2", "--first-seed", "500", "--no-oracles", "--out", "later")
    ended = command("evaluate", "allocator", "whole", *words, cwd=place)
    assert ended.code == 0
    assert "simulated markets of the seeds 500 to 501" in ended.out
    report = json.loads((place / "later" / "examination.json").read_text())
    assert report["market_seeds"] == [500, 501]


@pytest.mark.slow
def test_an_evaluation_trades_chosen_instruments_of_ones_own(command, place, trained):
    write_pairs(place / "mine")
    words = ("--source", "mine", "--symbols", "EURUSD, GBPUSD", "--json", "--out", "own")
    ended = command("evaluate", "allocator", "whole", *words, cwd=place)
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    assert report["symbols"] == ["EURUSD", "GBPUSD"]
    assert set(report["evaluations"]) == {"book", "forex"}
    assert "joint" in {v["name"] for v in report["evaluations"]["book"]}
    notes = report["notes"]
    assert "no instruments of the group index: left out" in notes
    assert "policy bottom-index is left out: no instruments of its group" in notes


def write_pairs(folder):
    """Write a year of daily bars of three pairs."""
    folder.mkdir()
    days = [str(day) for day in np.arange("2019-01-01", "2020-01-01", dtype="datetime64[D]")]
    days = [day for day in days if np.is_busday(day)]
    rng = np.random.default_rng(0)
    lines = ["date,symbol,open,high,low,close,volume"]
    for symbol in ("EURUSD", "GBPUSD", "AUDUSD"):
        closes = 1.2 * np.exp(np.cumsum(rng.normal(0, 4e-3, len(days))))
        for day, close in zip(days, closes.round(5), strict=True):
            lines.append(f"{day},{symbol},{close},{close},{close},{close},100")
    (folder / "bars.csv").write_text("\n".join(lines))


@pytest.mark.slow
def test_seeds_of_one_training_are_evaluated_together(command, place, trained):
    folder, _ = trained
    assert command(*TRAIN, "--seed", "1", "--out", "other", cwd=place).code == 0
    ended = command("evaluate", "allocator", "whole", "other", "--json", cwd=place)
    assert (ended.code, ended.err.strip()) == (0, "")
    report = json.loads(ended.out)
    assert report["seeds"] == [0, 1]
    whole = {v["name"]: v for v in report["evaluations"]["book"]}
    assert len(whole["joint"]["seeds"]) == len(whole["specialists, equal budgets"]["seeds"]) == 2
    assert whole["joint"]["sharpe"] == pytest.approx(sum(whole["joint"]["seeds"]) / 2)
    assert whole["joint"]["kupiec_p"] is None
    assert len(whole["equal weight"]["seeds"]) == 1
    assert {"joint less meta", "joint less hierarchical risk parity"} <= set(report["differences"])
    assert set(report["shares"]) == {"book", "commodity", "forex", "index"}
    assert set(report["shares"]["book"]["joint"]) == {"filter", "filter_in_twin"}
    assert (folder / "test-seeds" / "examination.png").stat().st_size > 1_000


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "expected a seed of its own in each training, was [0, 0]"),
        ({"seed": 1, "ppo": {"gamma": 0.5}}, "was another ppo.gamma in second"),
    ],
)
def test_trainings_that_are_no_seeds_of_one_are_refused(command, tmp_path, changed, said):
    for name, settings in (("first", {}), ("second", changed)):
        (tmp_path / name).mkdir()
        text = json.dumps({"settings": settings})
        (tmp_path / name / "training.json").write_text(text)
    ended = command("evaluate", "allocator", "first", "second", cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("simulator", ("--source", "us126"), "expected --source or --fresh-markets, was both"),
        ("us126", (), "expected a training on simulated markets, was one on us126"),
    ],
)
def test_fresh_markets_of_a_real_one_are_refused(command, tmp_path, source, words, said):
    (tmp_path / "first").mkdir()
    text = json.dumps({"settings": {"dataset": {"source": source}}})
    (tmp_path / "first" / "training.json").write_text(text)
    ended = command("evaluate", "allocator", "first", "--fresh-markets", "4", *words, cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--first-seed", "9"), "expected --first-seed beside --fresh-markets, was without"),
        (
            ("--fresh-markets", "2", "--first-seed", "27"),
            "than training and validation had (0 to 27), was 27 to 28",
        ),
        (("--symbols", "EURUSD"), "--symbols: expected --source or a training on real data"),
        (("--source", "equity:mine"), "expected the multi-asset book, was equity:mine"),
        (("--source", "multi-asset:nowhere"), "expected a source"),
        (("--source", "simulator"), "expected real bars, was simulator: see --fresh-markets"),
    ],
)
def test_markets_that_cannot_be_evaluated_on_are_refused(command, tmp_path, words, said):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "training.json").write_text(json.dumps({"settings": {}}))
    ended = command("evaluate", "allocator", "first", *words, cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--phase", "4"), "expected a phase of 1 to 3 (specialists, meta, joint), was 4"),
        (("--config", "other.yaml"), "expected settings of the multi-asset book, was equity"),
        (("--config", "wrong.yaml"), "wrong.yaml: joint.clip"),
        (("--source", "nowhere"), "expected a source"),
        (("--out", "taken"), "expected a new folder or an earlier training, was taken"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(command, tmp_path, words, said):
    (tmp_path / "other.yaml").write_text("dataset: {name: equity}\n")
    (tmp_path / "wrong.yaml").write_text("joint: {clip: -1.0}\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    ended = command(
        "train", "allocator", "--book", "multi-asset", "--preset", "quick", *words, cwd=tmp_path
    )
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
    assert [p.name for p in (tmp_path / "taken").iterdir()] == ["notes.txt"]


def test_an_evaluation_of_no_training_is_refused(command, tmp_path):
    ended = command("evaluate", "allocator", "nothing", cwd=tmp_path)
    assert ended.code == 2
    assert "expected a training's folder, was nothing" in ended.err
