"""Macro pre-training: it learns what can be learned, resumes, and exports what it trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.allocator.networks import TopNet
from agents.allocator.observation import Normaliser, group_means, observe, top_budgets
from agents.allocator.policy_file import load_policy
from config.allocator import GraphSettings, MacroSettings
from config.errors import ConfigError, DataError
from learning.allocator.training.equity.macro import Examples, budgets_of, pretrain_macro, top_net
from learning.allocator.training.equity.sector_graph import train_graph
from learning.allocator.training.phase_results import read_curve, read_result
from learning.datasets.dataset import training_rows
from learning.datasets.windows import Split, Window
from tests.learning.cut_short import cut_short
from tests.learning.made_run import made_run
from tests.unit.learning.planted import planted_dataset, planted_split

SETTINGS = MacroSettings(epochs=12, batch_sessions=32, learning_rate=3e-3, regime_weight=0.2)


def run(folder, dataset=None, split=None, **options):
    """Return a macro pre-training's run on the planted markets."""
    options = {"seed": 1, "macro": SETTINGS} | options
    return made_run(dataset or planted_dataset(), split or planted_split(), folder, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("macro")
    result = pretrain_macro(run(folder))
    return result, folder


def test_budgets_for_gradients_are_those_of_trading():
    means = 2.0 * torch.randn(20, 5)
    np.testing.assert_allclose(
        budgets_of(means, 0.95).numpy(), top_budgets(means.numpy(), 0.95), atol=1e-6
    )


def test_a_sector_below_every_action_still_has_a_gradient():
    means = torch.full((1, 3), -1.5, requires_grad=True)
    budgets_of(means, 1.0).sum().backward()
    assert (means.grad > 0.0).all()


def test_a_fresh_network_starts_inside_its_gross():
    net = top_net(11, with_embeddings=False)
    with torch.no_grad():
        means, _ = net(torch.zeros(1, 11, net.encoder.rows), torch.zeros(1, net.encoder.market))
    assert budgets_of(means, 1.0).sum().item() == pytest.approx(0.8, abs=0.05)


def test_regimes_and_budgets_of_a_held_out_market_are_learned(trained):
    measures = trained[0].measures
    assert measures["test_label_accuracy"] > 0.8
    assert measures["test_label_accuracy"] > measures["test_label_persistence_accuracy"] + 0.2
    assert measures["test_allocation_loss"] < 0.5 * measures["test_equal_weight_loss"]
    assert measures["test_allocation_loss"] < measures["test_constant_loss"]


def test_persistence_is_the_newest_label_whose_hindsight_is_over(trained):
    dataset = planted_dataset()
    sessions = np.arange(130, 399 - 60)
    same = dataset.label[3, sessions] == dataset.label[3, sessions - 60]
    assert trained[0].measures["test_label_persistence_accuracy"] == pytest.approx(same.mean())


def test_the_exported_policy_is_the_best_epoch(trained):
    result, folder = trained
    assert read_result(folder) == result
    net, card = load_policy(folder / result.policies["top"])
    assert isinstance(net, TopNet)
    assert card.regimes
    assert not card.embeddings
    curve = read_curve(folder / "curve.csv")
    best = min(curve, key=lambda row: row["validation_loss"])
    assert best["epoch"] == result.measures["best_epoch"]
    assert best["allocation_loss"] == pytest.approx(result.measures["validation_allocation_loss"])


def test_a_run_that_was_stopped_ends_as_one_that_was_not(trained, tmp_path):
    cut_short(
        lambda progress: pretrain_macro(run(tmp_path, progress=progress)),
        lambda epoch, _: epoch == 5,
    )
    resumed = pretrain_macro(run(tmp_path, resume=True))
    assert resumed.measures == trained[0].measures
    weights = "top/policy.safetensors"
    assert (tmp_path / weights).read_bytes() == (trained[1] / weights).read_bytes()


def test_a_checkpoint_of_another_run_is_refused(trained):
    dataset = replace(planted_dataset(), digest="another")
    with pytest.raises(ConfigError, match="expected a run of the same digest"):
        pretrain_macro(run(trained[1], dataset, resume=True))


def test_what_comes_after_a_window_changes_nothing_that_is_learned(trained, tmp_path):
    dataset = planted_dataset()
    stop = planted_split().test[0].stop
    poisoned = dataset.returns.copy()
    poisoned[:, stop:] = 0.4
    label = dataset.label.copy()
    label[:, stop:] = 0
    again = replace(dataset, returns=poisoned, label=label)
    result = pretrain_macro(run(tmp_path, again))
    assert result.measures == trained[0].measures


def test_the_sector_graphs_embeddings_go_into_the_observation(tmp_path):
    train_graph(run(tmp_path / "graph", graph=GraphSettings(epochs=1)))
    short = run(tmp_path / "macro", macro=MacroSettings(epochs=1))
    result = pretrain_macro(short, tmp_path / "graph")
    net, card = load_policy(tmp_path / "macro" / result.policies["top"])
    assert card.embeddings
    assert net.encoder.rows == 25 + 64
    assert (tmp_path / "macro" / "top" / "graph.safetensors").is_file()


def test_a_part_without_targets_is_refused(tmp_path):
    whole = planted_split()
    short = Split(whole.train, (Window(2, 130, 180),), whole.test, 1, 2)
    with pytest.raises(DataError, match="validation windows"):
        pretrain_macro(run(tmp_path, split=short))


def test_what_it_learns_from_is_what_a_policy_sees_when_it_trades():
    dataset, parts = planted_dataset(), planted_split()
    norm = Normaliser.fit(*training_rows(dataset, parts))
    examples = Examples(run(Path(), dataset, parts), norm, None)
    rows = examples.rows(parts.test)[:7]
    at = rows[:, 0], rows[:, 1]
    weights = 0.1 * np.random.default_rng(0).random((7, len(dataset.symbols)))
    drawdown = np.linspace(0.0, 0.2, 7)
    groups, market = examples.seen(rows, weights, drawdown)
    seen = observe(
        dataset.features[at],
        dataset.macro[at],
        weights,
        dataset.shortable,
        0 * weights,
        drawdown,
        norm,
    )
    means = group_means(seen.instruments, dataset.group, len(dataset.groups))
    np.testing.assert_allclose(groups.numpy(), means, atol=1e-6)
    np.testing.assert_allclose(market.numpy(), seen.market, atol=1e-6)
