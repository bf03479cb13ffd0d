"""Joint training on a market in which one group rises and the other falls."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    group_means,
    observe,
    top_budgets,
)
from agents.allocator.policy_file import PolicyCard, load_policy, read_card
from agents.messages import TrainingRecord
from backtest.market.market_data import MarketData
from config.allocator import CurriculumSettings, EpisodeSettings, JointSettings
from config.errors import ConfigError, Halt
from learning.allocator.training import checkpoints
from learning.allocator.training.joint.joint import train_joint
from learning.allocator.training.joint.rollout import gae
from learning.allocator.training.phase_results import (
    CHECKPOINTS,
    PhaseResult,
    read_curve,
    read_result,
)
from learning.datasets.dataset import Dataset
from tests.learning.cut_short import cut_short
from tests.learning.made_dataset import GROUPS, LOOSE, PARTS, SESSIONS, made_dataset
from tests.learning.made_run import made_run

SHAPES = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)
TINY = JointSettings(
    envs=8,
    rollout_steps=8,
    minibatch=64,
    epochs=3,
    checkpoint_every=2,
    specialists_every=3,
    critic_updates=0,
    curriculum=CurriculumSettings(levels=2, stretch_sessions=10, longest=2),
)

type Train = Callable[..., PhaseResult]


@pytest.fixture
def dataset(make_market: Callable[..., MarketData]) -> Dataset:
    """Return a book whose first group falls and whose second one rises."""
    return made_dataset(make_market, drifts=(-0.006, -0.006, 0.006, 0.006))


@pytest.fixture
def train(dataset: Dataset, tmp_path: Path) -> Train:
    """Return a training that starts from untrained policies of the book."""
    torch.manual_seed(0)
    start = tmp_path / "start"
    card = PolicyCard(
        kind="top",
        book=dataset.name,
        name="untrained",
        groups=dataset.groups,
        hidden=(16, 16),
        normaliser=Normaliser.fit(dataset.features, dataset.macro),
        trained=TrainingRecord(source="made", digest="made", first_ts=0, last_ts=1),
    )
    _save(start / "top", TopNet(*SHAPES, (16, 16)), card)
    for name in GROUPS:
        own = msgspec.structs.replace(card, kind="bottom", group=name)
        _save(start / f"bottom-{name}", BottomNet(*SHAPES, (16, 16)), own)

    def training(
        folder: Path,
        joint: JointSettings = TINY,
        *,
        start: Path = start,
        timesteps: int = 6 * 8 * 16,
        **options: object,
    ) -> PhaseResult:
        run = made_run(
            dataset,
            PARTS,
            folder,
            LOOSE,
            joint=msgspec.structs.replace(joint, timesteps=timesteps),
            episode=EpisodeSettings(sessions=40, min_sessions=10, warm_up=0),
            **{"seed": 1, **options},
        )
        bottoms = {name: start / f"bottom-{name}" for name in GROUPS}
        return train_joint(run, start / "top", bottoms)

    return training


def _save(folder: Path, net: TopNet | BottomNet, card: PolicyCard) -> None:
    from agents.allocator.policy_file import save_policy

    save_policy(folder, net, card)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    found = checkpoints.latest(folder / CHECKPOINTS)
    assert found is not None
    return found.state["net"] | {f"critic.{k}": v for k, v in found.state["critic"].items()}


def _equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def _share_of_second(dataset: Dataset, folder: Path) -> float:
    """Return what share of its budgets a top policy gives the group that rises."""
    top, card = load_policy(folder)
    none = np.zeros((SESSIONS, 4))
    seen = observe(
        dataset.features[0],
        dataset.macro[0],
        none,
        dataset.shortable,
        none,
        none[:, 0],
        card.normaliser,
    )
    rows = group_means(seen.instruments, dataset.group.tolist(), 2)
    with torch.no_grad():
        means, _ = top(torch.from_numpy(rows), torch.from_numpy(seen.market))
    budgets = top_budgets(means.numpy(), 1.0)
    return float((budgets[:, 1] / budgets.sum(axis=1)).mean())


def test_joint_learner_gives_capital_to_the_group_that_rises(
    dataset: Dataset, train: Train, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        TINY, envs=32, minibatch=128, learning_rate=3e-3, checkpoint_every=20
    )
    result = train(tmp_path / "joint", settings, timesteps=20 * 32 * 8)
    measures = result.measures
    assert measures["validation_sharpe"] > measures["earlier_sharpe"] + 1.0
    assert _share_of_second(dataset, tmp_path / "start" / "top") == pytest.approx(0.5, abs=0.05)
    assert _share_of_second(dataset, tmp_path / "joint" / "top") > 0.65
    card = read_card(tmp_path / "joint" / "top")
    assert (card.name, card.trained.steps) == ("joint-top", measures["best_step"])


def test_run_that_was_stopped_and_resumed_ends_with_the_same_weights(
    train: Train, tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole")

    third = 3 * 8 * 8  # the newest checkpoint is of the second update
    cut_short(partial(train, tmp_path / "halves"), lambda steps, _: steps == third)
    torch.manual_seed(99)
    resumed = train(tmp_path / "halves", resume=True)
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "halves"))
    assert resumed.measures == whole.measures
    curves = [read_curve(tmp_path / run / "curve.csv") for run in ("whole", "halves")]
    np.testing.assert_equal(curves[0], curves[1])
    assert read_result(tmp_path / "halves") == resumed


def test_another_seed_ends_elsewhere(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "one", timesteps=1)
    train(tmp_path / "two", timesteps=1, seed=2)
    assert not _equal(_weights(tmp_path / "one"), _weights(tmp_path / "two"))


def test_checkpoint_of_another_run_is_not_resumed(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "run", timesteps=1)
    with pytest.raises(ConfigError, match="expected a run of the same seed"):
        train(tmp_path / "run", timesteps=1, seed=2, resume=True)


def test_earlier_policies_stand_where_none_was_better(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "first", timesteps=1)
    idle = msgspec.structs.replace(TINY, learning_rate=1e-12)
    result = train(tmp_path / "second", idle, start=tmp_path / "first", timesteps=1)
    assert result.measures["validation_sharpe"] == result.measures["earlier_sharpe"]
    assert "the earlier phase's stand" in result.notes[0]
    for slot in ("top", "bottom-first", "bottom-second"):
        given, left = (read_card(tmp_path / run / slot) for run in ("first", "second"))
        assert given == left


def test_critic_learns_first_and_the_heads_after_it(train: Train, tmp_path: Path) -> None:
    first = msgspec.structs.replace(TINY, critic_updates=2)
    critics, nets = [], []
    for updates in (1, 2, 3):
        train(tmp_path / str(updates), first, timesteps=updates * 8 * 8)
        found = checkpoints.latest(tmp_path / str(updates) / CHECKPOINTS)
        assert found is not None
        critics.append(found.state["critic"])
        nets.append(found.state["net"])
    assert not _equal(critics[0], critics[1])
    assert _equal(nets[0], nets[1])
    assert not _equal(nets[1], nets[2])


def test_encoder_and_specialists_stand_still_between_their_updates(
    train: Train, tmp_path: Path
) -> None:
    every = msgspec.structs.replace(TINY, checkpoint_every=1)
    train(tmp_path / "joint", every, timesteps=2 * 8 * 8)
    first, second = (
        checkpoints.load(path).state["net"]
        for path in sorted((tmp_path / "joint" / CHECKPOINTS).glob(checkpoints.PATTERN))[-2:]
    )
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"top_head.weight", "top_head.bias", "top_spread"}


def test_training_stops_at_the_first_weight_that_is_not_finite(
    train: Train, tmp_path: Path
) -> None:
    broken = msgspec.structs.replace(TINY, learning_rate=1e12, rate_bounds=(1.0, 1.0))
    with pytest.raises(Halt, match="expected finite weights"):
        train(tmp_path / "joint", broken)


def test_curve_that_cannot_be_written_is_one_error_and_the_run_goes_on_later(
    train: Train, tmp_path: Path
) -> None:
    blocked = tmp_path / "joint" / "curve.csv"
    blocked.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"expected to write .*curve\.csv"):
        train(tmp_path / "joint", timesteps=1)
    blocked.rmdir()
    assert train(tmp_path / "joint", timesteps=1, resume=True).steps == 8 * 8


def test_advantages_follow_the_definition() -> None:
    rewards = np.array([[1.0], [2.0], [3.0]])
    values = np.array([[0.5], [0.4], [0.3]])
    done = np.array([[False], [True], [False]])
    found = gae(rewards, values, done, np.array([0.2]), 0.9, 0.8)
    last = 3.0 + 0.9 * 0.2 - 0.3
    second = 2.0 - 0.4  # its episode ends here
    first = 1.0 + 0.9 * 0.4 - 0.5 + 0.9 * 0.8 * second
    np.testing.assert_allclose(found[:, 0], [first, second, last])
