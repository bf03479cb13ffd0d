"""
Supervised training by epochs: the loop that all phases with targets share.

After each epoch the network is scored on held-out rows, the curve and TensorBoard are written and
everything is checkpointed. Training ends at the last epoch, or where several in a row were not
better than the best; the network keeps the best. A run that was stopped goes on after
its last whole epoch and ends with the same bits. It knows no examples and no loss.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from agents.arrays import IntArray
from learning.allocator.training.checkpoints import (
    check_same_run,
    generator_states,
    latest,
    restore_generators,
    save_checkpoint,
    weights,
)
from learning.allocator.training.phase_results import CHECKPOINTS, CURVE_FILE, LOGS, write_curve
from learning.allocator.training.training_run import Progress, no_progress

type Row = dict[str, float]


@dataclass
class Trained:
    """
    How far training has come: the best weights and their epoch (0: the start), and the curve.

    `seconds` are by part, of this process alone.
    """

    best: dict[str, Tensor]
    best_loss: float = math.inf
    best_epoch: int = 0
    curve: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"update": 0.0, "validation": 0.0})

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.curve)


def train_epochs(
    net: nn.Module,
    optimiser: Optimizer,
    train: Callable[[int], float],
    validate: Callable[[], Mapping[str, float]],
    folder: Path,
    *,
    tag: str,
    epochs: int,
    patience: int,
    rng: np.random.Generator,
    meta: Mapping[str, Any],
    resume: bool = False,
    progress: Progress = no_progress,
) -> Trained:
    """
    Train `net` in place, and leave it at its best epoch.

    `train` goes through an epoch (1, 2, ...) and returns its mean loss; what it draws it draws
    from `rng` and torch's own generator. `validate` draws nothing and returns figures by name,
    "validation_loss" among them. `meta` is plain JSON that says what run this is; a resume
    compares it. Checkpoints, the curve and scalars under `tag` go into `folder`; `progress` takes
    each epoch and its row of the curve.
    Raises ConfigError where `resume` finds another run's checkpoint or the disk is full.
    """
    trained = Trained(weights(net))
    store = folder / CHECKPOINTS
    if resume and (found := latest(store)) is not None:
        check_same_run(store, found.meta, meta)
        _restore(found.state, trained, net, optimiser, rng)
    with SummaryWriter(str(folder / LOGS)) as board:
        while trained.epoch < min(epochs, trained.best_epoch + patience):
            epoch = trained.epoch + 1
            began = time.perf_counter()
            train_loss = train(epoch)
            middle = time.perf_counter()
            row = {"epoch": float(epoch), "train_loss": train_loss, **validate()}
            trained.seconds["update"] += middle - began
            trained.seconds["validation"] += time.perf_counter() - middle
            trained.curve.append(row)
            for name, value in row.items():
                board.add_scalar(f"{tag}/{name}", value, epoch)
            loss = row["validation_loss"]
            if loss < trained.best_loss:
                trained.best, trained.best_loss, trained.best_epoch = weights(net), loss, epoch
            save_checkpoint(store, epoch, _state(trained, net, optimiser, rng), meta, score=-loss)
            write_curve(folder / CURVE_FILE, trained.curve)
            progress(epoch, row)
    net.load_state_dict(trained.best)
    return trained


def shuffled(rng: np.random.Generator, count: int, size: int) -> Sequence[IntArray]:
    """Return the numbers below `count` in random order, cut into batches."""
    return batches(rng.permutation(count), size)


def batches(order: IntArray, size: int) -> Sequence[IntArray]:
    """Return an order cut into batches, the last one shorter."""
    return np.split(order, range(size, len(order), size))


def _state(
    trained: Trained, net: nn.Module, optimiser: Optimizer, rng: np.random.Generator
) -> dict[str, Any]:
    return {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generators": generator_states(training=rng),
        "best": trained.best,
        "best_loss": trained.best_loss,
        "best_epoch": trained.best_epoch,
        "curve": trained.curve,
    }


def _restore(
    state: Mapping[str, Any],
    trained: Trained,
    net: nn.Module,
    optimiser: Optimizer,
    rng: np.random.Generator,
) -> None:
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    restore_generators(state["generators"], training=rng)
    trained.best, trained.curve = state["best"], state["curve"]
    trained.best_loss, trained.best_epoch = state["best_loss"], state["best_epoch"]
