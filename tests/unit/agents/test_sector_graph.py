"""The sector graph: what its nodes and edges are, and that its weights survive a file."""

import numpy as np
import pytest
import torch

from agents.allocator.graph import (
    MIN_SESSIONS,
    NODE_INPUTS,
    WINDOW,
    SectorGraph,
    graph_inputs,
    load_graph,
    save_graph,
)
from config.errors import ConfigError

GROUP = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
N, G = len(GROUP), 3


@pytest.fixture
def returns() -> np.ndarray:
    rng = np.random.default_rng(5)
    sector = rng.standard_normal((WINDOW + 30, G))[:, GROUP]
    return 0.01 * (sector + rng.standard_normal((WINDOW + 30, N)))


@pytest.fixture
def net() -> SectorGraph:
    torch.manual_seed(3)
    return SectorGraph().eval().requires_grad_(False)


def test_weights_into_a_node_sum_to_one_for_each_kind_of_edge(returns):
    _, edges = graph_inputs(returns[None, -WINDOW:], GROUP, G)
    assert edges.shape == (1, N + G, N + G)
    assert (edges >= 0.0).all()
    among = [edges[0, :N, :N], edges[0, :N, N:], edges[0, N:, :N], edges[0, N:, N:]]
    for block in among[:3]:
        np.testing.assert_allclose(block.sum(axis=1), 1.0, atol=1e-6)
    assert np.isin(np.round(among[3].sum(axis=1), 6), (0.0, 1.0)).all()
    assert (np.diagonal(edges[0]) == 0.0).all()


def test_a_member_and_its_sector_are_linked_both_ways(returns):
    _, edges = graph_inputs(returns[None, -WINDOW:], GROUP, G)
    np.testing.assert_array_equal(edges[0, :N, N:] > 0.0, GROUP[:, None] == np.arange(G))
    np.testing.assert_array_equal(edges[0, N:, :N] > 0.0, np.arange(G)[:, None] == GROUP)


def test_correlation_edges_come_from_the_instruments_that_move_alike(returns):
    _, edges = graph_inputs(returns[None, -WINDOW:], GROUP, G)
    alike = GROUP[:, None] == GROUP
    assert edges[0, :N, :N][alike].sum() > 0.8 * N


def test_an_instrument_that_hardly_trades_has_no_edges_and_no_inputs(returns):
    returns[-WINDOW : -MIN_SESSIONS + 1, 0] = np.nan
    nodes, edges = graph_inputs(returns[None, -WINDOW:], GROUP, G)
    assert (nodes[0, 0] == 0.0).all()
    assert (edges[0, 0] == 0.0).all()
    assert (edges[0, :, 0] == 0.0).all()
    assert nodes[0, 1, NODE_INPUTS.index("known")] == 1.0
    assert np.isfinite(nodes).all()


def test_a_market_without_returns_has_embeddings_that_are_numbers(net):
    assert np.isfinite(net.embed(np.full((3, N), np.nan), GROUP, G)).all()


def test_the_embedding_depends_on_the_newest_window_alone(net, returns):
    before = net.embed(returns, GROUP, G)
    assert before.shape == (G, 64)
    assert before.dtype == np.float32
    returns[: len(returns) - WINDOW] = 7.0
    np.testing.assert_array_equal(net.embed(returns, GROUP, G), before)
    returns[-1] += 0.05
    assert np.abs(net.embed(returns, GROUP, G) - before).max() > 1e-3


def test_the_order_of_instruments_does_not_matter_and_that_of_sectors_follows(net, returns):
    plain = net.embed(returns, GROUP, G)
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(net.embed(returns[:, order], GROUP[order], G), plain, atol=1e-5)
    renamed = np.array([2, 0, 1])
    np.testing.assert_allclose(net.embed(returns, renamed[GROUP], G)[renamed], plain, atol=1e-5)


def test_a_saved_graph_loads_as_the_same_network(net, returns, tmp_path):
    save_graph(tmp_path / "graph.safetensors", net)
    again = load_graph(tmp_path / "graph.safetensors")
    np.testing.assert_array_equal(again.embed(returns, GROUP, G), net.embed(returns, GROUP, G))


@pytest.mark.parametrize("content", [None, b"", b"not a graph"])
def test_a_missing_or_broken_graph_is_one_line(content, tmp_path):
    path = tmp_path / "graph.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected a sector graph") as caught:
        load_graph(path)
    assert "\n" not in str(caught.value)
