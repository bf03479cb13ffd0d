"""The micro policy's two phases each learn what can be learned in a market made for it."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS, Normaliser
from agents.allocator.policy_file import load_policy, save_policy
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.messages import Instrument, TrainingRecord
from config.allocator import HerSettings, MicroSettings
from config.errors import ConfigError
from config.settings import UNLIMITED, DeskSettings, MarketSettings, Settings
from learning.allocator.training.equity.hindsight import train_micro_her
from learning.allocator.training.equity.micro import bottom_card, pretrain_micro
from learning.allocator.training.phase_results import read_curve
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split, Window
from learning.twin.market_arrays import make_market_arrays
from tests.learning.cut_short import cut_short
from tests.learning.made_run import made_run

GROUPS = ("Energy", "Financials", "Utilities")
EACH = 3
FREE = Settings(
    limits=UNLIMITED,
    market=MarketSettings(cost_frac=0.0, spread_bps=0.0, slippage_probability=0.0),
    desk=DeskSettings(no_trade_band=0.0),
)
QUICK = HerSettings(
    timesteps=2_400,
    episode_sessions=10,
    learning_starts=200,
    buffer_size=8_000,
    batch_size=64,
    learning_rate=2e-3,
    gamma=0.5,
    tau=0.02,
    exploration_noise=0.3,
    checkpoint_every=1_200,
)


FOUR = MicroSettings(epochs=4)


@dataclass(frozen=True)
class _NoMarketArrays:
    returns: np.ndarray


def as_dataset(market_arrays, returns: np.ndarray, features: np.ndarray) -> Dataset:
    """Return a book of nine stocks in three sectors; macro features say nothing."""
    markets, sessions, stocks = returns.shape
    none = np.zeros((markets, sessions), dtype=np.int64)
    return Dataset(
        name="equity",
        symbols=tuple(f"S{i}" for i in range(stocks)),
        groups=GROUPS,
        group=np.repeat(np.arange(len(GROUPS)), EACH),
        shortable=np.zeros(stocks, dtype=np.bool_),
        market_arrays=market_arrays,
        ts=np.tile(np.arange(1, sessions + 1) * 86_400_000_000_000, (markets, 1)),
        features=features.astype(np.float32),
        macro=np.zeros((markets, sessions, len(MACRO_FEATURES)), dtype=np.float32),
        label=none,
        estimate=none,
        hidden=none,
        returns=returns,
        source="made",
        digest="made",
    )


def parts(dataset: Dataset, first: int) -> Split:
    """Return the last market as test, the one before as validation, the others as training."""
    markets, sessions = dataset.ts.shape
    windows = [Window(m, first, sessions - 1) for m in range(markets)]
    return Split(
        train=tuple(windows[:-2]),
        validation=(windows[-2],),
        test=(windows[-1],),
        learned_from=1,
        learned_until=int(dataset.ts[0, -1]),
    )


def risky_dataset() -> Dataset:
    """Return markets of stocks whose volatilities last, and which one feature tells."""
    rng = np.random.default_rng(3)
    shape = (5, 200, len(GROUPS) * EACH)
    level = rng.normal(0.0, 0.7, (shape[0], 1, shape[2]))
    volatility = 0.01 * np.exp(level + np.cumsum(rng.normal(0.0, 0.02, shape), axis=1))
    features = rng.standard_normal((*shape, len(INSTRUMENT_FEATURES)))
    features[..., INSTRUMENT_FEATURES.index("volatility_20")] = np.log(volatility)
    returns = volatility * rng.standard_normal(shape)
    return as_dataset(_NoMarketArrays(returns), returns, features)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Return the risky book and the result of a pre-training on it, with its folder."""
    folder = tmp_path_factory.mktemp("micro")
    dataset = risky_dataset()
    result = pretrain_micro(made_run(dataset, parts(dataset, 0), folder, seed=1, micro=FOUR))
    return dataset, result, folder


def test_pretraining_learns_which_stocks_are_risky_and_halves_equal_weights_loss(pretrained):
    _, result, folder = pretrained
    assert result.measures["equal_weight_frac"] < 0.5
    assert result.measures["test_equal_weight_frac"] < 0.5
    curve = read_curve(folder / result.curve)
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"]


def test_pretraining_exports_its_best_epoch(pretrained):
    dataset, result, folder = pretrained
    net, card = load_policy(folder / result.policies["bottom"])
    assert isinstance(net, BottomNet)
    assert (card.kind, card.group, card.groups) == ("bottom", "*", dataset.groups)
    assert card.trained.last_ts == parts(dataset, 0).learned_until
    assert result.measures["validation_loss"] == min(
        row["validation_loss"] for row in read_curve(folder / result.curve)
    )


def test_pretraining_that_was_cut_short_ends_as_if_it_had_not_been(pretrained, tmp_path):
    dataset, whole, folder = pretrained

    def train(**options):
        run = made_run(dataset, parts(dataset, 0), tmp_path, micro=FOUR, **options)
        return pretrain_micro(run)

    cut_short(partial(train, seed=1), lambda epoch, _: epoch == 2)
    result = train(seed=1, resume=True)
    assert result.measures == whole.measures
    assert read_curve(tmp_path / result.curve) == read_curve(folder / whole.curve)
    with pytest.raises(ConfigError, match="expected a run of the same seed, was another"):
        train(seed=2, resume=True)


@pytest.fixture
def flat(make_market, tmp_path):
    """Return a book of stocks that do not move, and a micro policy that knows nothing."""
    symbols = tuple(f"S{i}" for i in range(len(GROUPS) * EACH))
    instruments = tuple(
        Instrument(symbol=s, venue="SIM", group=GROUPS[i // EACH]) for i, s in enumerate(symbols)
    )
    prices = {s: np.full((60, 4), 50.0) for s in symbols}
    market = make_market(
        symbols=symbols, instruments=instruments, sessions=60, prices=prices, news_every=0
    )
    market_arrays = make_market_arrays([market] * 3, FREE)
    dataset = as_dataset(
        market_arrays,
        market_arrays.returns,
        np.zeros((*market_arrays.returns.shape, len(INSTRUMENT_FEATURES))),
    )
    torch.manual_seed(0)
    net = BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS))
    record = TrainingRecord(source="made", digest="made", first_ts=0, last_ts=1)
    norm = Normaliser.fit(dataset.features, dataset.macro)
    save_policy(tmp_path / "start", net, bottom_card(dataset, norm, record, "start"))
    return dataset, parts(dataset, 5), tmp_path / "start"


def test_td3_with_hindsight_learns_to_place_stocks_so_that_sectors_weigh_what_was_asked(
    flat, tmp_path
):
    dataset, split, start = flat
    run = made_run(dataset, split, tmp_path / "her", FREE, her=QUICK)
    result = train_micro_her(run, start, None)
    measures = result.measures
    assert measures["validation_goal_distance"] < 0.5 * measures["random_goal_distance"]
    assert measures["validation_goal_distance"] < 0.5 * measures["start_goal_distance"]
    assert measures["test_goal_distance"] < 0.5 * measures["random_goal_distance"]


def test_td3_killed_in_the_middle_goes_on_bit_for_bit(flat, tmp_path):
    dataset, split, start = flat
    settings = msgspec.structs.replace(
        QUICK, timesteps=480, checkpoint_every=240, buffer_size=320, batch_size=32
    )

    def run(folder: Path, **options):
        made = made_run(dataset, split, folder, FREE, her=settings, seed=4, **options)
        return train_micro_her(made, start, None)

    whole = run(tmp_path / "whole")
    cut_short(partial(run, tmp_path / "cut"), lambda steps, _: steps > 360)
    resumed = run(tmp_path / "cut", resume=True)
    assert resumed.measures == whole.measures
    curves = [read_curve(tmp_path / name / "curve.csv") for name in ("whole", "cut")]
    np.testing.assert_equal(curves[0], curves[1])  # NaN before the first update
    nets = [load_policy(tmp_path / name / "bottom")[0].state_dict() for name in ("whole", "cut")]
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])


def test_td3_that_would_learn_before_an_episode_has_ended_says_so(flat, tmp_path):
    dataset, split, start = flat
    settings = HerSettings(episode_sessions=50, learning_starts=100)
    with pytest.raises(ConfigError, match="learning_starts: expected at least 400 steps"):
        train_micro_her(made_run(dataset, split, tmp_path, FREE, her=settings), start, None)


def test_a_policy_of_other_sectors_is_refused(flat, pretrained, tmp_path):
    dataset, split, start = flat
    other = replace(dataset, groups=("A", "B", "C"))
    with pytest.raises(ConfigError, match="expected a micro policy of A, B, C, was 'start'"):
        train_micro_her(made_run(other, split, tmp_path, FREE, her=QUICK), start, None)
