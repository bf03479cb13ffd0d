"""PPO's phases on a market whose answer is plain: in each group one rises and the other falls."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS, Normaliser
from agents.allocator.policy_file import PolicyCard, load_policy, save_policy
from config.allocator import EpisodeSettings, PpoSettings
from config.errors import ConfigError, Halt, RunIncomplete
from learning.allocator.evaluation.policy_paths import run_policy, specialist_act, tiered_act
from learning.allocator.training import checkpoints
from learning.allocator.training.multi_asset import specialists
from learning.allocator.training.multi_asset.meta import train_meta
from learning.allocator.training.multi_asset.specialists import (
    Job,
    train_specialist,
    train_specialists,
)
from learning.allocator.training.phase_results import (
    CHECKPOINTS,
    read_curve,
    read_result,
    training_record,
)
from learning.allocator.training.training_run import no_progress
from learning.datasets.dataset import training_rows
from learning.datasets.group_dataset import only_group
from learning.envs.bottom_policies import BottomPolicies
from tests.learning.cut_short import cut_short
from tests.learning.made_dataset import GROUPS, LOOSE, PARTS, made_dataset
from tests.learning.made_run import made_run

TINY = PpoSettings(
    envs=16,
    n_steps=32,
    batch_size=128,
    epochs=4,
    learning_rate=3e-3,
    gamma=0.9,
    exploration_std=0.2,
    checkpoint_every=2,
)
EPISODE = EpisodeSettings(sessions=50, min_sessions=10, warm_up=0)
ROLLOUT = TINY.envs * TINY.n_steps


@pytest.fixture
def dataset(make_market):
    return made_dataset(make_market)


@pytest.fixture
def job(dataset, tmp_path) -> Job:
    run = made_run(
        only_group(dataset, "first"),
        PARTS,
        tmp_path / "first",
        LOOSE,
        seed=3,
        direct=None,
        ppo=TINY,
        episode=EPISODE,
        specialist_timesteps=8 * ROLLOUT,
    )
    norm = Normaliser.fit(*training_rows(dataset, PARTS))
    return Job(run, group="first", groups=dataset.groups, norm=norm)


def newest(folder: Path) -> dict[str, torch.Tensor]:
    found = checkpoints.latest(folder / CHECKPOINTS)
    assert found is not None
    return found.state["policy"]


def test_specialist_holds_what_rises_and_not_what_falls(job):
    result = train_specialist(job)
    net, card = load_policy(job.run.folder / "policy")
    assert card.holds
    assert card.group == "first"
    assert card.trained.steps == result.steps == 8 * ROLLOUT
    act = specialist_act(job.run.dataset, card.normaliser, net, result.measures["budget"])
    held = run_policy(job.run.dataset, PARTS.validation, LOOSE, act).weights[0, 5:].mean(axis=0)
    assert held[0] > 0.5
    assert held[1] < 0.1
    assert result.measures["validation_sharpe"] > 3.0
    curve = read_curve(job.run.folder / result.curve)
    assert [row["steps"] for row in curve] == [ROLLOUT * (k + 1) for k in range(8)]
    assert curve[-1]["reward"] > curve[0]["reward"]
    assert any((job.run.folder / "tensorboard").iterdir())


def test_meta_controller_gives_capital_to_the_group_that_rises(make_market, tmp_path):
    dataset = made_dataset(make_market, drifts=(0.006, 0.006, -0.006, -0.006))
    norm = Normaliser.fit(*training_rows(dataset, PARTS))
    torch.manual_seed(0)
    folders = {}
    for group in GROUPS:  # specialists that always share their budget evenly
        net = BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS))
        with torch.no_grad():
            net.head.weight.zero_()
        card = _card(dataset, norm, group)
        folders[group] = tmp_path / group
        save_policy(folders[group], net, card)
    run = made_run(
        dataset,
        PARTS,
        tmp_path / "meta",
        LOOSE,
        ppo=msgspec.structs.replace(TINY, exploration_std=0.4),
        episode=EPISODE,
        meta_timesteps=8 * ROLLOUT,
    )
    result = train_meta(run, folders)
    top, card = load_policy(tmp_path / "meta" / "policy")
    assert isinstance(top, TopNet)
    assert not card.regimes
    bottom_policies = BottomPolicies(
        dataset, {g: load_policy(folder)[0] for g, folder in folders.items()}
    )
    act = tiered_act(dataset, norm, top, bottom_policies, card.gross)
    held = run_policy(dataset, PARTS.validation, LOOSE, act).weights[0, 5:].mean(axis=0)
    assert held[:2].sum() > 1.5 * held[2:].sum()
    assert result.measures["validation_sharpe"] > result.measures["validation_sharpe_equal"]


def test_run_that_was_stopped_and_resumed_ends_with_the_same_weights(job, tmp_path):
    often = msgspec.structs.replace(TINY, checkpoint_every=1)
    job = _set(job, specialist_timesteps=4 * ROLLOUT, ppo=often)
    one, two = (_changed(job, folder=tmp_path / name) for name in ("one", "two"))
    train_specialist(one)
    cut_short(
        lambda progress: train_specialist(_changed(two, progress=progress)),
        lambda steps, _: steps >= 2 * ROLLOUT,
    )
    assert read_result(two.run.folder) is None
    np.random.seed(99)  # noqa: NPY002 - whatever the interpreter did in between
    torch.manual_seed(99)
    train_specialist(_changed(two, resume=True))
    first, second = newest(one.run.folder), newest(two.run.folder)
    assert all(torch.equal(first[k], second[k]) for k in first)
    curves = [read_curve(job.run.folder / "curve.csv") for job in (one, two)]
    assert curves[0][-1] == curves[1][-1]


def test_checkpoint_of_another_run_is_not_resumed(job):
    short = _set(job, specialist_timesteps=2 * ROLLOUT)
    train_specialist(short)
    with pytest.raises(ConfigError, match="expected a run of the same seed, was another"):
        train_specialist(_changed(short, resume=True, seed=4))


def test_training_stops_at_the_first_reward_that_is_not_finite(job):
    class Broken(specialists.SpecialistEnvironment):
        def step(self, actions):
            seen, reward, *rest = super().step(actions)
            return seen, reward * np.nan, *rest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specialists, "SpecialistEnvironment", Broken)
        with pytest.raises(Halt, match="expected finite rewards and observations"):
            train_specialist(job)


def test_full_disk_leaves_the_last_good_checkpoint(job, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 4:  # the first checkpoint, the curve, and their folders
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left on device; the last good one"):
        train_specialist(job)
    monkeypatch.undo()
    assert checkpoints.latest(job.run.folder / CHECKPOINTS).step == ROLLOUT


@pytest.mark.slow
def test_process_that_dies_is_named_and_the_others_finish(dataset, tmp_path):
    killed = []

    def kill(done, row):
        if not killed:
            children = specialists.multiprocessing.active_children()
            victim = next(p for p in children if p.name == "first")
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)

    run = made_run(
        dataset,
        PARTS,
        tmp_path,
        LOOSE,
        direct=None,
        ppo=TINY,
        episode=EPISODE,
        specialist_timesteps=10 * ROLLOUT,
        processes=2,
    )
    with pytest.raises(RunIncomplete, match=r"specialist first: .* was exit code -9"):
        train_specialists(run, lambda group: kill if group == "first" else no_progress)
    assert read_result(tmp_path / "second").steps == 10 * ROLLOUT
    results = train_specialists(replace(run, resume=True))
    assert sorted(results) == ["first", "second"]
    assert results["first"].steps == 10 * ROLLOUT


def _changed(job: Job, **changes) -> Job:
    return replace(job, run=replace(job.run, **changes))


def _set(job: Job, **settings) -> Job:
    return _changed(job, settings=msgspec.structs.replace(job.run.settings, **settings))


def _card(dataset, norm, group):
    return PolicyCard(
        kind="bottom",
        book=dataset.name,
        name=f"even-{group}",
        groups=dataset.groups,
        group=group,
        hidden=(64, 64),
        normaliser=norm,
        trained=training_record(made_run(dataset, PARTS, Path()), 0),
    )
