"""A phase is finished when all its policies are there; the newest of each slot are published."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from config.allocator import SPLITS, DatasetSettings, EpisodeSettings, TrainingSettings
from config.errors import ConfigError
from config.settings import load_settings
from learning.allocator.phases import (
    Training,
    phases_of,
    policies_by_phase,
    publish,
    run_macro_pretraining,
    seen_seeds,
)
from learning.allocator.training.phase_results import PhaseResult, write_result
from learning.datasets.crises import CRISIS_SEEDS
from learning.datasets.windows import split_by_market
from ops.composition.training.allocator_training import settings_of

GROUPS = ("commodity", "forex")
EPISODE = EpisodeSettings(sessions=60, min_sessions=40, warm_up=20)


def training(folder, book="multi-asset", *, resume=True):
    """Return a training of a book that is never looked into."""
    made = SimpleNamespace(name=book, groups=GROUPS)
    return Training(made, None, TrainingSettings(), folder, resume, lambda *_: None)


def leave(folder, *slots):
    """Leave a finished phase's summary and a policy for each slot, which says where it was."""
    for slot in slots:
        (folder / slot).mkdir(parents=True)
        (folder / slot / "policy.json").write_text(folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_result(
        PhaseResult(
            phase=folder.name,
            folder=str(folder),
            steps=1,
            seconds={},
            measures={},
            policies={slot: slot for slot in slots},
        )
    )


@pytest.mark.parametrize(
    ("book", "names"),
    [
        ("multi-asset", ["specialists", "meta", "joint"]),
        (
            "equity",
            ["macro-pretraining", "micro-pretraining", "macro-ppo", "micro-td3-her", "joint"],
        ),
    ],
)
def test_phases_of_a_book_are_numbered_in_order(book, names):
    phases = phases_of(book)
    assert [phase.name for phase in phases] == names
    assert [phase.number for phase in phases] == list(range(1, len(names) + 1))


def test_specialists_are_finished_when_every_group_has_its_own(tmp_path):
    run, (specialists, *_) = training(tmp_path), phases_of("multi-asset")
    assert specialists.finished(run) == ()
    leave(tmp_path / "1-specialists" / "commodity", "bottom-commodity")
    assert specialists.finished(run) == ()
    with pytest.raises(ConfigError, match="expected phase specialists to be finished first"):
        run.policies("specialists")
    leave(tmp_path / "1-specialists" / "forex", "bottom-forex")
    assert [result.phase for result in specialists.finished(run)] == list(GROUPS)
    assert run.policies("specialists") == {
        f"bottom-{group}": tmp_path / "1-specialists" / group / f"bottom-{group}"
        for group in GROUPS
    }


def test_joint_training_begins_from_the_phase_whose_portfolio_validates_best(
    tmp_path, monkeypatch
):
    sharpes = {"micro-pretraining": 0.2, "macro-ppo": 1.0, "micro-td3-her": 0.8}
    begun = []
    monkeypatch.setattr(
        "learning.allocator.evaluation.examine.whole_dataset",
        lambda dataset, phase, slots, *_: {phase: phase} if "bottom" in slots else {},
    )
    monkeypatch.setattr(
        "learning.allocator.evaluation.policy_paths.run_policy",
        lambda dataset, windows, settings, act: SimpleNamespace(sharpe=sharpes[act]),
    )
    monkeypatch.setattr(
        "learning.allocator.phases.run_joint", lambda _, policies: begun.append(policies)
    )
    slots = ("top", "bottom", "top", "bottom", "top")
    for phase, slot in zip(phases_of("equity"), slots, strict=True):
        leave(phase.folder(tmp_path), slot)
    run = replace(training(tmp_path, "equity"), parts=SimpleNamespace(validation=()))
    phases_of("equity")[-1].run(run)
    (policies,) = begun
    assert policies["top"].parent.name == "3-macro-ppo"
    assert policies["bottom"].parent.name == "2-micro-pretraining"


def test_a_sector_graph_alone_is_no_finished_pretraining(tmp_path):
    run, (pretraining, *_) = training(tmp_path, "equity"), phases_of("equity")
    leave(tmp_path / "1-macro-pretraining" / "graph")
    assert pretraining.finished(run) == ()
    leave(tmp_path / "1-macro-pretraining" / "macro", "top")
    assert len(pretraining.finished(run)) == 2


def test_a_phase_before_its_time_says_which_is_missing(tmp_path):
    for phase in phases_of("multi-asset")[1:]:
        with pytest.raises(ConfigError, match="expected phase specialists to be finished first"):
            phase.run(training(tmp_path))


def test_a_finished_graph_is_trained_again_only_where_a_run_does_not_resume(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(
        "learning.allocator.training.equity.sector_graph.train_graph",
        trained.append,
    )
    monkeypatch.setattr(
        "learning.allocator.training.equity.macro.pretrain_macro", lambda run, graph: graph
    )
    graph = tmp_path / "1-macro-pretraining" / "graph"
    leave(graph)
    assert run_macro_pretraining(training(tmp_path, "equity")) == graph
    assert trained == []
    run_macro_pretraining(training(tmp_path, "equity", resume=False))
    assert [run.folder for run in trained] == [graph]


def test_what_is_published_are_the_newest_policies_of_each_slot(tmp_path):
    for group in GROUPS:
        leave(tmp_path / "1-specialists" / group, f"bottom-{group}")
    leave(tmp_path / "2-meta", "top")
    publish(training(tmp_path))
    leave(tmp_path / "3-joint", "top", "bottom-commodity")
    by_phase = policies_by_phase(tmp_path, "multi-asset")
    assert list(by_phase) == ["specialists", "meta", "joint"]
    assert set(by_phase["specialists"]) == {"bottom-commodity", "bottom-forex"}
    assert by_phase["meta"]["top"] == tmp_path / "2-meta" / "top"
    publish(training(tmp_path))
    said = {p.name: (p / "policy.json").read_text() for p in (tmp_path / "policies").iterdir()}
    assert said == {"top": "3-joint", "bottom-commodity": "3-joint", "bottom-forex": "forex"}


def test_what_is_published_is_written_again_only_where_it_is_not_the_newest(tmp_path):
    leave(tmp_path / "2-meta", "top")
    publish(training(tmp_path))
    first = (tmp_path / "policies").stat().st_ino
    publish(training(tmp_path))
    assert (tmp_path / "policies").stat().st_ino == first
    for spoil in (
        lambda: (tmp_path / "2-meta" / "top" / "policy.json").write_text("newer"),
        lambda: (tmp_path / "policies" / "top" / "policy.json").unlink(),
    ):
        spoil()
        publish(training(tmp_path))
        assert (tmp_path / "policies" / "top" / "policy.json").read_text() == "newer"


@pytest.mark.parametrize("book", ["multi-asset", "equity"])
def test_a_book_is_traded_with_the_band_that_it_is_trained_with(book):
    profile = load_settings(Path("config/profiles") / f"{book}.yaml", environ={})
    trained = settings_of(book, "full", None, {})
    assert profile.desk.no_trade_band == trained.trading.desk.no_trade_band


@pytest.mark.parametrize(
    ("book", "seeds"), [("multi-asset", 4), ("multi-asset", 24), ("equity", 9)]
)
def test_seen_seeds_are_those_of_the_markets_that_train_and_validate(book, seeds):
    settings = TrainingSettings(
        dataset=DatasetSettings(name=book, seeds=seeds, first_seed=100), episode=EPISODE
    )
    ts = np.tile(np.arange(300), (seeds, 1))
    parts = split_by_market(ts, SPLITS[book], EPISODE, measured_from=20)
    seen = [100 + window.market for window in (*parts.train, *parts.validation)]
    own, crises = seen_seeds(settings)
    assert [*own] == seen
    assert [*crises] == [CRISIS_SEEDS + k for k in range(4)]
