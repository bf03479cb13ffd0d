"""
The sector graph: 64 numbers a sector, from returns alone, for the top policy's observation.

Nodes are instruments and sectors (a sector's series is its members' mean return). Edges are of two
kinds: rolling correlation, from each node's strongest neighbours of its own kind, and membership,
both ways between an instrument and its sector. Two graph convolutions carry what the series show
along the edges. Trained with torch-geometric on sparse edges
(`learning/allocator/training/equity/sector_graph.py`); here the same layers, with the same names,
act on dense weights, so that trading needs torch alone.

It knows what a return is, but no calendar, no target and no sector's name: sectors differ only by
what their returns do. Sources: Morris et al. 2019, "Weisfeiler and Leman Go Neural", eq. 7 with
edge weights (torch-geometric's GraphConv); EWMA volatility as in RiskMetrics 1996.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from agents.allocator.networks import EMBEDDING
from agents.arrays import Float32Array, FloatArray, IntArray
from config.errors import ConfigError, one_line
from config.files.whole import write_whole

HIDDEN = 64
WINDOW = 120  # sessions whose returns make a graph
MIN_SESSIONS = 40  # of them with a return, below which a node has no edges and no inputs
NEIGHBOURS = 8  # correlation edges into a node
HORIZONS = (5, 20, 60, 120)
EWMA_DECAY = 0.94  # RiskMetrics 1996, daily
USUAL_VOLATILITY = 0.01  # a session: where a log volatility counts as 0
CLIP = 5.0
NODE_INPUTS = (
    *(f"log_volatility_{h}" for h in HORIZONS),
    "log_volatility_ewma",
    *(f"trend_{h}" for h in HORIZONS),
    "correlation_market",
    "correlation_mean",
    "is_sector",
    "known",
)
FORMAT = "sector-graph-1"


class DenseGraphConv(nn.Module):
    """
    Add to each node's own map the map of what its edges bring.

    Named as torch-geometric's GraphConv names its parts, so that its weights load as they are.
    Shapes: nodes (B, V, D), edges (B, V, V), from column to row -> (B, V, width).
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.lin_rel = nn.Linear(inputs, width)
        self.lin_root = nn.Linear(inputs, width, bias=False)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Return the nodes after one step along the edges."""
        out: Tensor = self.lin_rel(edges @ nodes) + self.lin_root(nodes)
        return out


class SectorGraph(nn.Module):
    """Embed every sector of a graph; numbers lie in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = DenseGraphConv(len(NODE_INPUTS), HIDDEN)
        self.second = DenseGraphConv(HIDDEN, EMBEDDING)

    def forward(self, nodes: Tensor, edges: Tensor, sectors: int) -> Tensor:
        """Return embeddings: (B, V, F), (B, V, V) -> (B, sectors, 64); sectors come last."""
        hidden = torch.relu(self.first(nodes, edges))
        return torch.tanh(self.second(hidden, edges)[:, -sectors:])

    @torch.no_grad()
    def embed(self, returns: FloatArray, group: IntArray, count: int) -> Float32Array:
        """
        Return each sector's embedding as of the newest row.

        Only the newest 120 rows are read; where there are fewer the rest counts as unknown.
        Shapes: returns (T, N), oldest first, NaN where not traded; group (N,) of 0..count - 1
        -> (count, 64).
        """
        window = np.full((WINDOW, returns.shape[1]), np.nan)
        rows = min(len(returns), WINDOW)
        window[WINDOW - rows :] = returns[len(returns) - rows :]
        nodes, edges = graph_inputs(window[None], group, count)
        out = self(torch.from_numpy(nodes), torch.from_numpy(edges), count)[0]
        return np.asarray(out.numpy(), dtype=np.float32)


def graph_inputs(
    returns: FloatArray, group: IntArray, count: int
) -> tuple[Float32Array, Float32Array]:
    """
    Return the nodes' inputs and the edges' weights; instruments first, then sectors.

    The weights into a node sum to 1 over its correlation edges (positive correlations of its
    strongest neighbours) and to 1 over its membership edges, or to 0 where it has none.
    Shapes: returns (B, 120, N), group (N,) -> (B, V, F), (B, V, V) with V = N + count.
    """
    member = np.eye(count)[group]  # (N, G)
    finite = np.isfinite(returns)
    filled = np.where(finite, returns, 0.0)
    traded = finite.astype(np.float64) @ member
    sectors = np.divide(filled @ member, traded, out=np.zeros_like(traded), where=traded > 0.0)
    series = np.concatenate([filled, sectors], axis=2)  # (B, W, V)
    present = np.concatenate([finite, traded > 0.0], axis=2)
    known = present.sum(axis=1) >= MIN_SESSIONS  # (B, V)
    series = np.where(known[:, None], series, 0.0)

    n = returns.shape[2]
    market = series[:, :, n:].mean(axis=2, keepdims=True)
    units = _unit(np.concatenate([series, market], axis=2))
    correlation = units.swapaxes(1, 2) @ units  # (B, V + 1, V + 1)
    nodes = _node_inputs(series, present, known, correlation, n)

    edges = np.zeros((len(returns), n + count, n + count))
    edges[:, :n, :n] = _nearest(correlation[:, :n, :n])
    edges[:, n:, n:] = _nearest(correlation[:, n:-1, n:-1])
    belongs = member * known[:, :n, None]  # (B, N, G)
    edges[:, :n, n:] = belongs
    size = belongs.sum(axis=1)[:, :, None]
    edges[:, n:, :n] = belongs.swapaxes(1, 2) / np.maximum(size, 1.0)
    return nodes.astype(np.float32), edges.astype(np.float32)


def save_graph(path: Path, net: SectorGraph) -> None:
    """Write the weights, whole or not at all. Raises ConfigError where that fails."""
    tensors = {k: v.detach().cpu().float().contiguous() for k, v in net.state_dict().items()}
    write_whole(path, save(tensors, metadata={"format": FORMAT}))


def load_graph(path: Path) -> SectorGraph:
    """
    Return the network of a file that `save_graph` wrote.

    Raises ConfigError, one line, where there is none, or one of another format.
    """
    net = SectorGraph()
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("format")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if found != FORMAT:
            raise ConfigError(f"{path}: expected the format {FORMAT!r}, was {found!r}")
        net.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as e:
        raise ConfigError(f"expected a sector graph in {path}, was: {one_line(e)}") from e
    return net.eval().requires_grad_(False)


def _node_inputs(
    series: FloatArray,
    present: NDArray[np.bool_],
    known: NDArray[np.bool_],
    correlation: FloatArray,
    n: int,
) -> FloatArray:
    square = np.square(series)
    columns = []
    for h in HORIZONS:
        count = np.maximum(present[:, -h:].sum(axis=1), 1)
        columns.append(_log_volatility(square[:, -h:].sum(axis=1) / count))
    decay = EWMA_DECAY ** np.arange(WINDOW - 1, -1, -1)[:, None] * present
    total = np.maximum(decay.sum(axis=1), 1e-12)
    columns.append(_log_volatility((decay * square).sum(axis=1) / total))
    deviation = np.sqrt(square.sum(axis=1) / np.maximum(present.sum(axis=1), 1))
    for h in HORIZONS:
        moved = series[:, -h:].sum(axis=1)
        columns.append(
            np.divide(
                moved, deviation * np.sqrt(h), out=np.zeros_like(moved), where=deviation > 0.0
            )
        )
    columns.append(correlation[:, :-1, -1])
    own = np.empty_like(deviation)
    for kind in (slice(0, n), slice(n, known.shape[1])):
        among = correlation[:, kind, kind]
        own[:, kind] = (among.sum(axis=2) - 1.0) / max(among.shape[2] - 1, 1)
    columns.append(own)
    columns.append(np.broadcast_to(np.arange(known.shape[1]) >= n, known.shape))
    columns.append(np.ones_like(deviation))
    nodes = np.clip(np.stack(columns, axis=2), -CLIP, CLIP)
    return np.asarray(np.where(known[:, :, None], nodes, 0.0))


def _log_volatility(variance: FloatArray) -> FloatArray:
    return np.asarray(0.5 * np.log(np.maximum(variance, 1e-12) / USUAL_VOLATILITY**2))


def _unit(series: FloatArray) -> FloatArray:
    """Return columns less their mean and of length 1, 0 where nothing moves: (B, W, V)."""
    centred = series - series.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-12)


def _nearest(correlation: FloatArray) -> FloatArray:
    """Return each row's strongest positive correlations as weights that sum to 1."""
    nodes = correlation.shape[1]
    others = np.where(np.eye(nodes, dtype=np.bool_), 0.0, np.maximum(correlation, 0.0))
    if nodes > NEIGHBOURS + 1:
        least = np.partition(others, nodes - NEIGHBOURS, axis=2)[:, :, nodes - NEIGHBOURS]
        others = np.where(others >= least[:, :, None], others, 0.0)
    total = others.sum(axis=2, keepdims=True)
    return np.divide(others, total, out=np.zeros_like(others), where=total > 0.0)
