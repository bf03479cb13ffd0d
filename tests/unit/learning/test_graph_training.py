"""The sector graph's training: its objective, its twin for trading, and its resume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.allocator.graph import WINDOW, graph_inputs, load_graph
from agents.allocator.policy_file import GRAPH_FILE
from config.allocator import GraphSettings
from config.errors import ConfigError, DataError
from learning.allocator.training.equity.sector_graph import (
    CovarianceHead,
    SparseSectorGraph,
    covariance_loss,
    embeddings,
    train_graph,
)
from learning.allocator.training.phase_results import read_curve, read_result
from learning.datasets.windows import Split, Window
from tests.learning.cut_short import cut_short
from tests.learning.made_run import made_run
from tests.unit.learning.planted import planted_dataset, planted_split

SETTINGS = GraphSettings(epochs=4, batch_graphs=16, every_sessions=4, learning_rate=3e-3)


def run(folder, dataset=None, split=None, **options):
    """Return a run of the graph's training on the planted markets."""
    options = {"seed": 1, "graph": SETTINGS} | options
    return made_run(dataset or planted_dataset(), split or planted_split(), folder, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    result = train_graph(run(folder))
    return result, folder


def test_the_network_for_trading_equals_torch_geometrics():
    torch.manual_seed(0)
    dataset = planted_dataset()
    net = SparseSectorGraph()
    nodes, edges = graph_inputs(
        dataset.returns[:, 40 : 40 + WINDOW], dataset.group, len(dataset.groups)
    )
    nodes, edges = torch.from_numpy(nodes), torch.from_numpy(edges)
    with torch.no_grad():
        sparse = net(nodes, edges, len(dataset.groups))
        dense = net.dense()(nodes, edges, len(dataset.groups))
    assert sparse.std() > 0.1
    torch.testing.assert_close(dense, sparse, atol=1e-6, rtol=0.0)


def test_the_objective_is_the_normal_likelihood():
    torch.manual_seed(0)
    covariance = CovarianceHead()(torch.randn(4, 5, 64))
    future = torch.randn(4, 20, 5)
    normal = torch.distributions.MultivariateNormal(torch.zeros(4, 1, 5), covariance[:, None])
    expected = -normal.log_prob(future).mean() / 5 - 0.5 * np.log(2 * np.pi)
    assert covariance_loss(covariance, future).item() == pytest.approx(expected.item(), rel=1e-4)


def test_training_beats_what_does_not_learn_on_held_out_markets(tmp_path):
    rng = np.random.default_rng(4)
    markets, sessions = 24, 260
    dataset = planted_dataset()
    sector = np.exp(0.5 * rng.standard_normal((markets, 1, len(dataset.groups))))[
        ..., dataset.group
    ]
    common, own = (rng.standard_normal((markets, sessions, n)) for n in (1, len(dataset.symbols)))
    volatile = replace(dataset, returns=0.01 * sector * (0.7 * common + 0.7 * own))
    windows = [Window(m, 119, sessions - 1) for m in range(markets)]
    parts = Split(tuple(windows[:16]), tuple(windows[16:20]), tuple(windows[20:]), 1, 2)
    settings = GraphSettings(epochs=9, batch_graphs=16, learning_rate=3e-3)
    measures = train_graph(run(tmp_path, volatile, parts, graph=settings, seed=0)).measures
    for rule in ("persistence", "ewma", "constant"):
        assert measures["test_loss"] < measures[f"test_{rule}_loss"], rule


def test_a_trained_graph_leaves_its_network_curve_and_summary(trained):
    result, folder = trained
    assert read_result(folder) == result
    assert len(read_curve(folder / "curve.csv")) == SETTINGS.epochs
    dataset = planted_dataset()
    again = embeddings(dataset, load_graph(folder / GRAPH_FILE))
    assert again.shape == (*dataset.returns.shape[:2], len(dataset.groups), 64)


def test_embeddings_know_no_future_and_are_those_of_trading(trained):
    net = load_graph(trained[1] / GRAPH_FILE)
    dataset = planted_dataset()
    before = embeddings(dataset, net)
    poisoned = dataset.returns.copy()
    poisoned[:, 150:] = 0.3
    after = embeddings(replace(dataset, returns=poisoned), net)
    np.testing.assert_array_equal(after[:, :150], before[:, :150])
    assert np.abs(after[:, 150] - before[:, 150]).max() > 1e-3
    for t in (0, 50, 199):
        seen = net.embed(dataset.returns[1, : t + 1], dataset.group, len(dataset.groups))
        np.testing.assert_allclose(seen, before[1, t], atol=1e-6)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(trained, tmp_path):
    cut_short(
        lambda progress: train_graph(run(tmp_path, progress=progress)),
        lambda epoch, _: epoch == 3,
    )
    resumed = train_graph(run(tmp_path, resume=True))
    assert resumed.measures == trained[0].measures
    assert (tmp_path / GRAPH_FILE).read_bytes() == (trained[1] / GRAPH_FILE).read_bytes()


def test_a_checkpoint_of_another_run_is_refused(trained):
    with pytest.raises(ConfigError, match="expected a run of the same seed"):
        train_graph(run(trained[1], seed=2, resume=True))


def test_a_part_too_short_for_a_forecast_is_refused(tmp_path: Path):
    whole = planted_split()
    short = Split(whole.train, whole.validation, (Window(3, 120, 125),), 0, 1)
    with pytest.raises(DataError, match="test windows"):
        train_graph(run(tmp_path, split=short))
