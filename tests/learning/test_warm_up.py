"""The warm-up by gradient teaches what to hold, and reads no later price."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet
from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    assemble,
    bottom_shares,
)
from config.allocator import DirectSettings, EpisodeSettings, RewardSettings
from config.errors import DataError
from learning.allocator.evaluation.policy_paths import run_policy, specialist_act
from learning.allocator.training.warm_up import (
    RolloutPolicy,
    Rollouts,
    beyond_band,
    market_of,
    openings,
    rows_of,
    shares_of,
    warm_up,
)
from learning.datasets.dataset import training_rows
from learning.datasets.group_dataset import only_group
from learning.envs.environments import Arena
from tests.learning.made_dataset import LOOSE, PARTS, made_dataset
from tests.learning.made_run import made_run

SHORT = DirectSettings(epochs=4, updates=4, books=32, sessions=12)


@pytest.fixture
def dataset(make_market):
    return only_group(made_dataset(make_market), "first")


@pytest.fixture
def arena(dataset):
    norm = Normaliser.fit(*training_rows(dataset, PARTS))
    reward, episode = RewardSettings(), EpisodeSettings(sessions=50, min_sessions=10, warm_up=0)
    return Arena(dataset, PARTS.train, PARTS.train, norm, LOOSE, reward, episode)


def untaught():
    torch.manual_seed(1)
    return BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS), holds=True)


def policies(arena, net, books):
    """Return books of budget 1 that `net` places on the arena's one group."""
    shortable = torch.tensor(arena.dataset.shortable).float()

    def place(features, macro, held):
        rows = rows_of(features, held, shortable, torch.ones_like(held))
        return shares_of(net(rows, market_of(macro, held.abs().sum(dim=-1))), shortable)

    return RolloutPolicy(place, torch.ones(books))


def warmed(arena, net, folder, settings=SHORT, **options):
    def validate():
        act = specialist_act(arena.dataset, arena.norm, net, 1.0)
        return run_policy(arena.dataset, PARTS.validation, LOOSE, act).sharpe

    run = made_run(arena.dataset, PARTS, folder, LOOSE, direct=settings, **options)
    drawn = lambda _, books: policies(arena, net, books)  # noqa: E731
    return warm_up(run, arena, net, drawn, validate, {"phase": "warm-up"})


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_a_warm_up_teaches_to_hold_what_rises_and_not_what_falls(arena, tmp_path):
    net = untaught()
    _, measures = warmed(arena, net, tmp_path)
    act = specialist_act(arena.dataset, arena.norm, net, 1.0)
    held = run_policy(arena.dataset, PARTS.validation, LOOSE, act).weights[0, 5:].mean(axis=0)
    assert held[0] > 0.5
    assert held[1] < 0.1
    assert measures["warm_up_sharpe"] > 3.0


def test_a_warm_up_that_was_cut_short_ends_as_one_that_was_not(arena, tmp_path):
    one, two, again = untaught(), untaught(), untaught()
    warmed(arena, one, tmp_path / "one")
    warmed(arena, two, tmp_path / "two", msgspec.structs.replace(SHORT, epochs=2))
    torch.manual_seed(99)
    warmed(arena, again, tmp_path / "two", resume=True)
    first, last = weights(one), weights(again)
    assert all(torch.equal(first[name], last[name]) for name in first)
    assert any(not torch.equal(first[name], value) for name, value in weights(two).items())


def test_no_warm_up_leaves_the_network_as_it_is(arena, tmp_path):
    net = untaught()
    before = weights(net)
    assert warmed(arena, net, tmp_path / "none", None) == ({}, {})
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not (tmp_path / "none").exists()


def test_a_warm_up_reads_nothing_beyond_its_windows_last_outcome(arena):
    one, two = untaught(), untaught()
    whole = Rollouts(arena, SHORT)
    market_arrays, last = arena.dataset.market_arrays, PARTS.train[0].stop
    poisoned = {
        name: np.where(
            np.arange(market_arrays.sessions)[:, None, None] > last,
            np.nan,
            getattr(market_arrays, name),
        )
        for name in ("bid", "ask")
    }
    features = arena.dataset.features.copy()
    features[:, last:] = np.nan
    dataset = replace(
        arena.dataset, market_arrays=replace(market_arrays, **poisoned), features=features
    )
    cut = Rollouts(replace(arena, dataset=dataset), SHORT)
    for net, rollouts in ((one, whole), (two, cut)):
        rollouts.utility(policies(arena, net, SHORT.books), np.random.default_rng(0)).backward()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_what_a_session_earns_goes_from_opening_to_opening(dataset):
    market_arrays = dataset.market_arrays
    earned, cost = openings(market_arrays, 0.02)
    middle = (market_arrays.bid[:, :, 0] + market_arrays.ask[:, :, 0]) / 2
    rate = np.nan_to_num(market_arrays.risk_free / 100, nan=0.02) / 252
    assert earned[0, 7] == pytest.approx(middle[0, 9] / middle[0, 8] - 1 - rate[0, 8])
    spread = (market_arrays.ask - market_arrays.bid)[0, 8, 0] / 2 / middle[0, 8]
    assert cost[0, 7] == pytest.approx(market_arrays.fee_frac + spread)
    assert not earned[:, -2:].any()


def test_a_move_within_the_band_stays_and_still_teaches():
    held = torch.tensor([[0.30, 0.30, 0.02, 0.0]])
    asked = torch.tensor([[0.32, 0.40, 0.0, 0.02]], requires_grad=True)
    moved = beyond_band(asked, held, 0.03)
    assert moved.tolist()[0] == pytest.approx([0.30, 0.40, 0.0, 0.0])
    moved.sum().backward()
    assert asked.grad.tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_a_warm_up_moves_where_its_share_of_the_band_lets_it(arena):
    wide = msgspec.structs.replace(LOOSE.desk, no_trade_band=0.2)
    settings = msgspec.structs.replace(LOOSE, desk=wide)

    def utility(share, kept):
        place = lambda features, macro, held: kept * held  # noqa: E731
        own = msgspec.structs.replace(SHORT, band_share=share)
        rollouts = Rollouts(replace(arena, settings=settings), own)
        policy = RolloutPolicy(place, torch.full((SHORT.books,), 0.2))
        return float(rollouts.utility(policy, np.random.default_rng(0)))

    assert utility(1.0, 0.9) == utility(1.0, 1.0)
    assert utility(0.0, 0.9) != utility(0.0, 1.0)


def test_what_a_warm_up_shows_a_policy_is_what_trading_does():
    rng = np.random.default_rng(3)
    features, macro = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((5, 3, 22), (5, 18))
    )
    held, budget = rng.uniform(0, 0.2, (5, 3)), rng.uniform(0.1, 0.3, (5, 3))
    shortable = np.array([False, True, False])
    seen = assemble(features, macro, held, shortable, budget, np.zeros(5))
    given = [torch.from_numpy(a).float() for a in (features, held, shortable, budget, macro)]
    rows = rows_of(*given[:4])
    market = market_of(given[4], given[1].abs().sum(dim=-1))
    assert rows.numpy() == pytest.approx(seen.instruments, abs=1e-6)
    assert market.numpy() == pytest.approx(seen.market, abs=1e-6)
    means = rng.uniform(-1.5, 1.5, (5, 3)).astype(np.float32)
    shares = shares_of(torch.from_numpy(means), given[2]).numpy()
    assert shares == pytest.approx(bottom_shares(means, shortable), abs=1e-6)


def test_a_window_shorter_than_a_rollout_is_refused(arena, tmp_path):
    long = msgspec.structs.replace(SHORT, sessions=80)
    with pytest.raises(DataError, match="longer than the warm-up's 80 sessions, was 70"):
        warmed(arena, untaught(), tmp_path, long)
