"""Macro PPO goes on from the pre-trained policy and never exports what validates worse."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.allocator.policy_file import load_policy
from config.allocator import (
    EpisodeSettings,
    GraphSettings,
    MacroSettings,
    MicroSettings,
    PpoSettings,
    SplitSettings,
)
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.allocator.training.equity.macro import pretrain_macro
from learning.allocator.training.equity.macro_ppo import train_macro_ppo
from learning.allocator.training.equity.micro import pretrain_micro
from learning.allocator.training.equity.sector_graph import train_graph
from learning.allocator.training.phase_results import PhaseResult, read_result
from learning.datasets.dataset import Dataset, simulated_dataset, split
from learning.datasets.windows import Split
from tests.learning.cut_short import cut_short
from tests.learning.made_run import made_run

SMALL = SimulatorSettings(
    instruments=4, sectors=2, warm_up=140, regime_sessions=(20.0, 20.0, 20.0)
)
EPISODE = EpisodeSettings(sessions=30, min_sessions=30, warm_up=50, cohort=1)
PPO = PpoSettings(envs=2, n_steps=32, batch_size=32, epochs=2, checkpoint_every=1)


@dataclass(frozen=True)
class Stage:
    dataset: Dataset
    parts: Split
    macro: Path
    micro: Path

    def train(self, folder: Path, **kwargs) -> PhaseResult:
        run = made_run(
            self.dataset,
            self.parts,
            folder,
            ppo=PPO,
            episode=EPISODE,
            macro_timesteps=192,
            **kwargs,
        )
        return train_macro_ppo(run, self.macro, self.micro)


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Stage:
    home = tmp_path_factory.mktemp("macro-ppo")
    dataset = simulated_dataset(
        "equity",
        seeds=range(3),
        sessions=120,
        settings=Settings(),
        simulator=SMALL,
        cache=home / "cache",
    )
    parts = split(dataset, SplitSettings(validation_share=0.3, test_share=0.3), EPISODE)
    run = made_run(
        dataset,
        parts,
        home,
        graph=GraphSettings(epochs=1),
        macro=MacroSettings(epochs=2),
        micro=MicroSettings(epochs=1),
    )
    train_graph(replace(run, folder=home / "graph"))
    macro = pretrain_macro(replace(run, folder=home / "macro"), home / "graph")
    micro = pretrain_micro(replace(run, folder=home / "micro"))
    return Stage(
        dataset,
        parts,
        Path(macro.folder) / macro.policies["top"],
        Path(micro.folder) / micro.policies["bottom"],
    )


def test_pre_training_on_a_simulated_dataset_stands_beside_the_bayes_filter(stage):
    measures = read_result(stage.macro.parent).measures
    assert 0.0 < measures["test_hidden_filter_accuracy"] <= 1.0
    assert {"test_hidden_accuracy", "test_label_accuracy"} <= measures.keys()


def test_macro_ppo_exports_the_better_of_its_start_and_what_it_learned(stage, tmp_path):
    result = stage.train(tmp_path)
    measures = result.measures
    assert measures["validation_sharpe"] >= measures["validation_sharpe_start"]
    net, card = load_policy(tmp_path / result.policies["top"])
    before, was = load_policy(stage.macro)
    assert card.name == "ppo-macro"
    assert (card.normaliser, card.embeddings, card.regimes) == (was.normaliser, True, True)
    same = all(
        torch.equal(value, before.state_dict()[name])
        for name, value in net.state_dict().items()
        if not name.startswith("regime_head")
    )
    assert same == (measures["best_step"] == 0)
    assert np.isfinite(list(measures.values())).all()


@pytest.mark.slow
def test_macro_ppo_that_was_stopped_ends_as_one_that_was_not(stage, tmp_path):
    whole = stage.train(tmp_path / "whole")
    cut_short(partial(stage.train, tmp_path / "stopped"), lambda steps, _: steps >= 128)
    resumed = stage.train(tmp_path / "stopped", resume=True)
    assert resumed.measures == whole.measures
    weights = "top/policy.safetensors"
    assert (tmp_path / "stopped" / weights).read_bytes() == (
        tmp_path / "whole" / weights
    ).read_bytes()
