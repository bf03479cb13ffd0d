"""
Trains the sector graph to predict the covariance of the sectors' returns over the next sessions.

The network of `agents/allocator/graph.py` is trained here by torch-geometric on sparse edges. Its
objective is the normal log-likelihood of the sectors' next 20 sessions of returns, their mean
taken as 0, under a covariance that a small head reads off the embeddings: a volatility a sector,
and correlations from a factor model, (I + U Uᵀ) scaled to a unit diagonal, U a sector's loadings.
That is a proper score of a forecast covariance, and robust to its noise (Patton 2011, QLIKE).

The same score of the past's own covariance (60 sessions, shrunk; EWMA, shrunk) and of the
training windows' constant one stand beside it. The head is thrown away; the macro policy
is given the embeddings. The best epoch on the validation windows is exported; a run resumes after
its last whole epoch. It knows no policy and no regime.
"""

import time
import warnings
from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from agents.allocator.graph import (
    HIDDEN,
    NODE_INPUTS,
    USUAL_VOLATILITY,
    WINDOW,
    SectorGraph,
    graph_inputs,
    save_graph,
)
from agents.allocator.networks import EMBEDDING
from agents.allocator.policy_file import GRAPH_FILE
from agents.arrays import Float32Array, FloatArray, IntArray
from config.allocator import GraphSettings
from config.errors import ConfigError, DataError
from learning.allocator.training.epochs import batches, shuffled, train_epochs
from learning.allocator.training.phase_results import PhaseResult, identity, write_result
from learning.allocator.training.training_run import TrainingRun
from learning.datasets.dataset import Dataset
from learning.datasets.targets import group_returns, target_sessions
from learning.datasets.windows import Window

with warnings.catch_warnings():
    # torch-geometric 2.8 still calls torch.jit.script at import, which torch 2.15 deprecates
    warnings.simplefilter("ignore")
    from torch_geometric.nn import GraphConv

PHASE = "graph"
LOADINGS = 8  # of a sector, in the head's factor model
TRAILING = 60  # sessions of the past that persistence looks at
SHRINKAGE = 0.2  # of the past's correlations towards 0: 60 rows are few for 11 sectors
EWMA_DECAY = 0.97  # RiskMetrics' for months
CHUNK = 128  # sessions embedded at once


class SparseSectorGraph(nn.Module):
    """The network of `SectorGraph` by torch-geometric; their weights have the same names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = GraphConv(len(NODE_INPUTS), HIDDEN)
        self.second = GraphConv(HIDDEN, EMBEDDING)

    def forward(self, nodes: Tensor, edges: Tensor, sectors: int) -> Tensor:
        """Return embeddings of a batch of graphs: (B, V, F), (B, V, V) -> (B, sectors, 64)."""
        batch, size = nodes.shape[:2]
        graph, to, source = edges.nonzero(as_tuple=True)
        index = torch.stack([graph * size + source, graph * size + to])
        weight = edges[graph, to, source]
        hidden = torch.relu(self.first(nodes.flatten(0, 1), index, weight))
        out = self.second(hidden, index, weight).reshape(batch, size, EMBEDDING)
        return torch.tanh(out[:, -sectors:])

    def dense(self) -> SectorGraph:
        """Return the same network for trading."""
        net = SectorGraph()
        net.load_state_dict(self.state_dict())
        return net.eval().requires_grad_(False)


class CovarianceHead(nn.Module):
    """
    Read a covariance off embeddings, in units of the usual volatility.

    Shapes: (B, G, 64) -> (B, G, G), positive definite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.volatility = nn.Linear(EMBEDDING, 1)
        self.loading = nn.Linear(EMBEDDING, LOADINGS)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the forecast covariance of a session's returns."""
        volatility = self.volatility(embeddings).clamp(-4.0, 4.0).exp()  # (B, G, 1)
        loading = self.loading(embeddings)
        joint = torch.eye(loading.shape[1]) + loading @ loading.mT
        scale = volatility / joint.diagonal(dim1=1, dim2=2).sqrt().unsqueeze(-1)
        covariance: Tensor = scale * joint * scale.mT
        return covariance


def covariance_loss(covariance: Tensor, future: Tensor) -> Tensor:
    """
    Return the mean negative log-likelihood a sector and session, its constant left out.

    Shapes: covariance (B, G, G), future (B, h, G), both in units of the usual volatility.
    """
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, future.mT, upper=False)  # (B, G, h)
    log_volume = root.diagonal(dim1=1, dim2=2).log().sum(dim=1)  # half the log determinant
    distance = 0.5 * white.square().sum(dim=(1, 2)) / future.shape[1]
    loss: Tensor = (log_volume + distance).mean() / future.shape[2]
    return loss


def train_graph(run: TrainingRun) -> PhaseResult:
    """
    Train on the training windows, export the epoch that validates best.

    The run's folder comes to hold the network (`GRAPH_FILE`), checkpoints, the curve, TensorBoard
    scalars and the summary.
    Raises DataError where a part has no session with a whole window before and horizon after it,
    ConfigError where the settings have no graph, a resume finds another run's checkpoint, or the
    disk is full.
    """
    started = time.perf_counter()
    dataset, split, settings = run.dataset, run.split, run.settings.graph
    if settings is None:
        raise ConfigError("expected settings of a sector graph (graph), was none")
    parts = {
        name: _samples(getattr(split, name), settings) for name in ("train", "validation", "test")
    }
    for name, part in parts.items():
        if not len(part):
            raise DataError(
                f"expected sessions with {WINDOW} sessions before them and "
                f"{settings.horizon_sessions} after them in the {name} windows of "
                f"{dataset.source}, was none"
            )
    series = group_returns(dataset.returns, dataset.group, len(dataset.groups))
    series = np.nan_to_num(series) / USUAL_VOLATILITY
    rng = np.random.default_rng(run.seed)
    torch.manual_seed(run.seed)
    net, head = SparseSectorGraph(), CovarianceHead()
    both = nn.ModuleList([net, head])
    optimiser = torch.optim.AdamW(
        both.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    inputs = {name: _inputs(dataset, part) for name, part in parts.items()}
    futures = {
        name: torch.from_numpy(_future(series, part, settings.horizon_sessions))
        for name, part in parts.items()
    }
    sectors = len(dataset.groups)

    def train(epoch: int) -> float:
        total = 0.0
        for some in shuffled(rng, len(parts["train"]), settings.batch_graphs):
            nodes, edges = (x[some] for x in inputs["train"])
            loss = covariance_loss(head(net(nodes, edges, sectors)), futures["train"][some])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(both.parameters(), 1.0)
            optimiser.step()
            total += float(loss.detach()) * len(some) / len(parts["train"])
        return total

    def validate() -> dict[str, float]:
        loss = _loss(net, head, inputs["validation"], futures["validation"], sectors)
        return {"validation_loss": loss}

    trained = train_epochs(
        both,
        optimiser,
        train,
        validate,
        run.folder,
        tag="graph",
        epochs=settings.epochs,
        patience=settings.patience,
        rng=rng,
        meta=identity(PHASE, run)
        | {"settings": msgspec.to_builtins(settings), "epochs": settings.epochs},
        resume=run.resume,
        progress=run.progress,
    )
    save_graph(run.folder / GRAPH_FILE, net.dense())
    measures = {"best_epoch": float(trained.best_epoch)}
    constant = _second_moment(futures["train"].flatten(0, 1).unsqueeze(0))
    for name in ("validation", "test"):
        measures[f"{name}_loss"] = _loss(net, head, inputs[name], futures[name], sectors)
        for rule, covariance in _references(series, parts[name], constant).items():
            measures[f"{name}_{rule}_loss"] = float(covariance_loss(covariance, futures[name]))
    seconds = trained.seconds
    seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
    return write_result(
        PhaseResult(
            phase=PHASE,
            folder=str(run.folder),
            steps=len(parts["train"]) * trained.epoch,
            seconds=seconds,
            measures=measures,
        )
    )


def embeddings(dataset: Dataset, net: SectorGraph) -> Float32Array:
    """
    Return every session's embeddings, each from its own and earlier sessions only.

    Shapes: (M, T, G, 64).
    """
    markets, sessions, _ = dataset.returns.shape
    out = np.empty((markets, sessions, len(dataset.groups), EMBEDDING), dtype=np.float32)
    for market in range(markets):
        for start in range(0, sessions, CHUNK):
            stop = min(start + CHUNK, sessions)
            rows = np.column_stack([np.full(stop - start, market), np.arange(start, stop)])
            nodes, edges = _inputs(dataset, rows)
            with torch.no_grad():
                out[market, start:stop] = net(nodes, edges, len(dataset.groups)).numpy()
    return out


def _samples(windows: Sequence[Window], settings: GraphSettings) -> IntArray:
    """Return (market, session) pairs with a whole past and future: (R, 2)."""
    pairs = []
    for window in windows:
        sessions = target_sessions(window, settings.horizon_sessions)
        sessions = sessions[sessions >= WINDOW - 1][:: settings.every_sessions]
        pairs.append(np.column_stack([np.full(len(sessions), window.market), sessions]))
    return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64)


def _inputs(dataset: Dataset, rows: IntArray) -> tuple[Tensor, Tensor]:
    """Return the graphs of (market, session) pairs; what is before the first session is NaN."""
    nodes, edges = [], []
    for some in batches(rows, CHUNK):
        back = some[:, 1:] - np.arange(WINDOW - 1, -1, -1)  # (B, W)
        window = dataset.returns[some[:, :1], np.maximum(back, 0)]
        window = np.where((back >= 0)[..., None], window, np.nan)
        made = graph_inputs(window, dataset.group, len(dataset.groups))
        nodes.append(torch.from_numpy(made[0]))
        edges.append(torch.from_numpy(made[1]))
    return torch.cat(nodes), torch.cat(edges)


def _future(series: FloatArray, rows: IntArray, horizon: int) -> Float32Array:
    """Return the sectors' returns of the h sessions after each pair: (R, h, G)."""
    ahead = rows[:, 1:] + np.arange(1, horizon + 1)
    return np.asarray(series[rows[:, :1], ahead], dtype=np.float32)


def _references(series: FloatArray, rows: IntArray, constant: Tensor) -> dict[str, Tensor]:
    """Return what rules that learn nothing, or one covariance only, forecast: (R, G, G) each."""
    back = rows[:, 1:] - np.arange(WINDOW - 1, -1, -1)
    past = torch.from_numpy(np.asarray(series[rows[:, :1], back], dtype=np.float32))
    decay = torch.from_numpy(EWMA_DECAY ** np.arange(WINDOW - 1, -1, -1, dtype=np.float32))
    weighted = past * (decay / decay.mean()).sqrt()[:, None]
    return {
        "persistence": _shrunk(_second_moment(past[:, -TRAILING:])),
        "ewma": _shrunk(_second_moment(weighted)),
        "constant": constant.expand(len(rows), -1, -1),
    }


def _second_moment(rows: Tensor) -> Tensor:
    return rows.mT @ rows / rows.shape[1]


def _shrunk(covariance: Tensor) -> Tensor:
    diagonal = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2).clamp(min=1e-4))
    return (1.0 - SHRINKAGE) * covariance + SHRINKAGE * diagonal


@torch.no_grad()
def _loss(
    net: SparseSectorGraph,
    head: CovarianceHead,
    inputs: tuple[Tensor, Tensor],
    future: Tensor,
    sectors: int,
) -> float:
    total = 0.0
    for some in batches(np.arange(len(future)), CHUNK):
        covariance = head(net(inputs[0][some], inputs[1][some], sectors))
        total += float(covariance_loss(covariance, future[some])) * len(some)
    return total / len(future)
