"""Joint training on a market in which one group rises and the other falls."""

from collections.abc import Callable
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
from agents.allocator.policy_file import PolicyCard, TrainingRecord, load_policy, read_card
from agents.messages import Instrument
from backtest.market import MarketData
from config.allocator import CurriculumSettings, EpisodeSettings, JointSettings, RewardSettings
from config.errors import ConfigError, Halt
from config.settings import UNLIMITED, Settings
from learning.allocator import checkpoints
from learning.allocator.book import Book
from learning.allocator.joint import CHECKPOINTS, gae, train_joint
from learning.allocator.results import PhaseResult, read_curve, read_result
from learning.allocator.windows import Split, Window
from learning.envs.tape import make_tape

GROUPS = ("down", "up")
SESSIONS = 150
SHAPES = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)
TINY = JointSettings(
    envs=8,
    rollout_steps=8,
    minibatch=64,
    epochs=3,
    checkpoint_every=2,
    specialists_every=3,
    clone_steps=30,
    clone_sessions=5,
    curriculum=CurriculumSettings(levels=2, stretch_sessions=10, longest=2),
)

LOOSE = Settings(limits=UNLIMITED)  # all there is to learn is where to put the capital

type Train = Callable[..., PhaseResult]


@pytest.fixture
def book(make_market: Callable[..., MarketData]) -> Book:
    """Two groups of two; a feature says which is which, another is noise."""
    rng = np.random.default_rng(0)
    symbols = ("AAA", "BBB", "CCC", "DDD")
    prices = {}
    for i, symbol in enumerate(symbols):
        drift = 0.006 if i % 2 else -0.006
        close = 50.0 * np.exp(np.cumsum(drift + 0.004 * rng.standard_normal(SESSIONS)))
        opened = np.concatenate([[50.0], close[:-1]])
        ohlc = [opened, np.maximum(opened, close), np.minimum(opened, close), close]
        prices[symbol] = np.column_stack(ohlc)
    instruments = tuple(
        Instrument(symbol=s, venue="SIM", group=GROUPS[i % 2], price_precision=4)
        for i, s in enumerate(symbols)
    )
    market = make_market(sessions=SESSIONS, prices=prices, instruments=instruments, news_every=0)
    features = np.zeros((1, SESSIONS, 4, 22), dtype=np.float32)
    features[..., 1] = rng.standard_normal((1, SESSIONS, 4))
    group = np.array([0, 1, 0, 1])
    features[..., 0] = 2.0 * group - 1.0
    tape = make_tape([market], LOOSE)
    label = np.zeros((1, SESSIONS), dtype=np.int64)
    return Book(
        name="multi-asset",
        symbols=symbols,
        groups=GROUPS,
        group=group,
        shortable=np.zeros(4, dtype=np.bool_),
        tape=tape,
        ts=tape.ts_close,
        features=features,
        macro=np.zeros((1, SESSIONS, 18), dtype=np.float32),
        label=label,
        estimate=label,
        hidden=label,
        returns=tape.returns,
        source="made",
        digest="made",
    )


@pytest.fixture
def train(book: Book, tmp_path: Path) -> Train:
    """Return a training that starts from untrained policies of the book."""
    torch.manual_seed(0)
    start = tmp_path / "start"
    card = PolicyCard(
        kind="top",
        book=book.name,
        name="untrained",
        groups=book.groups,
        hidden=(16, 16),
        normaliser=Normaliser.fit(book.features, book.macro),
        trained=TrainingRecord(source="made", digest="made", first_ts=0, last_ts=1),
    )
    _save(start / "top", TopNet(*SHAPES, (16, 16)), card)
    for name in GROUPS:
        own = msgspec.structs.replace(card, kind="bottom", group=name)
        _save(start / f"bottom-{name}", BottomNet(*SHAPES, (16, 16)), own)

    def training(
        folder: Path, joint: JointSettings = TINY, *, start: Path = start, **kwargs: object
    ) -> PhaseResult:
        return train_joint(
            book,
            Split((Window(0, 65, 130),), (Window(0, 130, 149),), (), 0, 1),
            start / "top",
            {name: start / f"bottom-{name}" for name in GROUPS},
            LOOSE,
            joint,
            RewardSettings(),
            EpisodeSettings(sessions=40, min_sessions=10, warm_up=0),
            folder,
            **{"seed": 1, "timesteps": 6 * 8 * 16, **kwargs},
        )

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


def _share_of_up(book: Book, folder: Path) -> float:
    """Return what share of its budgets a top policy gives the group that rises."""
    top, card = load_policy(folder)
    none = np.zeros((SESSIONS, 4))
    seen = observe(
        book.features[0], book.macro[0], none, book.shortable, none, none[:, 0], card.normaliser
    )
    rows = group_means(seen.instruments, book.group.tolist(), 2)
    with torch.no_grad():
        means, _ = top(torch.from_numpy(rows), torch.from_numpy(seen.market))
    budgets = top_budgets(means.numpy(), 1.0)
    return float((budgets[:, 1] / budgets.sum(axis=1)).mean())


def test_joint_learner_gives_capital_to_the_group_that_rises(
    book: Book, train: Train, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        TINY, envs=32, minibatch=128, learning_rate=3e-3, checkpoint_every=20
    )
    result = train(tmp_path / "joint", settings, timesteps=20 * 32 * 8)
    measures = result.measures
    assert measures["validation_sharpe"] > measures["former_sharpe"] + 1.0
    assert _share_of_up(book, tmp_path / "start" / "top") == pytest.approx(0.5, abs=0.05)
    assert _share_of_up(book, tmp_path / "joint" / "top") > 0.65
    card = read_card(tmp_path / "joint" / "top")
    assert (card.name, card.trained.steps) == ("joint-top", measures["best_step"])


def test_run_that_was_stopped_and_resumed_ends_with_the_same_weights(
    train: Train, tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole")

    def stop(row: dict[str, float]) -> None:
        if row["steps"] == 3 * 8 * 8:  # the newest checkpoint is of the second update
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "halves", progress=stop)
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
    with pytest.raises(ConfigError, match="expected checkpoints of this run"):
        train(tmp_path / "run", timesteps=1, seed=2, resume=True)


def test_earlier_policies_stand_where_none_was_better(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "first", timesteps=1)
    idle = msgspec.structs.replace(TINY, learning_rate=1e-12, clone_steps=0)
    result = train(tmp_path / "second", idle, start=tmp_path / "first", timesteps=1)
    assert result.measures["clone_sharpe"] == pytest.approx(result.measures["former_sharpe"])
    assert result.measures["validation_sharpe"] == result.measures["former_sharpe"]
    assert "the earlier phase's stand" in result.notes[0]
    for slot in ("top", "bottom-down", "bottom-up"):
        given, left = (read_card(tmp_path / run / slot) for run in ("first", "second"))
        assert given == left


def test_shared_net_learns_what_the_earlier_policies_do(train: Train, tmp_path: Path) -> None:
    longer = msgspec.structs.replace(TINY, clone_steps=200, clone_sessions=10)
    result = train(tmp_path / "joint", longer, timesteps=1)
    fits = [value for name, value in result.measures.items() if name.startswith("fit_")]
    assert len(fits) == 3
    assert min(fits) > 0.5


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
    blocked = tmp_path / "joint" / "curve.partial"
    blocked.mkdir(parents=True)
    with pytest.raises(ConfigError, match="the last good checkpoint can be resumed"):
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
