"""The loop of supervised phases: it learns, keeps the best, stops in time and goes on."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from config.errors import ConfigError
from learning.allocator.training.checkpoints import latest
from learning.allocator.training.epochs import Trained, batches, shuffled, train_epochs
from learning.allocator.training.phase_results import CHECKPOINTS, CURVE_FILE, LOGS, read_curve

META = {"phase": "made", "seed": 0}


class Examples:
    """A line to be found, with a little of both generators' noise in what is shown of it."""

    def __init__(self, losses: Sequence[float] = ()) -> None:
        torch.manual_seed(0)
        self.rng = np.random.default_rng(0)
        self.net = torch.nn.Linear(2, 1)
        self.optimiser = torch.optim.Adam(self.net.parameters(), 0.1)
        self.inputs = torch.from_numpy(self.rng.standard_normal((40, 2)).astype(np.float32))
        self.wanted = self.inputs @ torch.tensor([[2.0], [-1.0]]) + 0.5
        self.losses = losses  # of validation by epoch, instead of the true ones
        self.asked: list[int] = []

    def train(self, epoch: int) -> float:
        self.asked.append(epoch)
        total = 0.0
        for some in shuffled(self.rng, len(self.inputs), 16):
            seen = self.inputs[some] + 1e-3 * torch.randn(len(some), 2)
            loss = (self.net(seen) - self.wanted[some]).square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += float(loss.detach()) * len(some) / len(self.inputs)
        return total

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        loss = float((self.net(self.inputs) - self.wanted).square().mean())
        if self.losses:
            loss = self.losses[self.asked[-1] - 1]
        return {"validation_loss": loss, "half": 0.5 * loss}

    def run(self, folder: Path, *, epochs: int = 6, patience: int = 3, **options) -> Trained:
        return train_epochs(
            self.net,
            self.optimiser,
            self.train,
            self.validate,
            folder,
            tag="made",
            epochs=epochs,
            patience=patience,
            rng=self.rng,
            **{"meta": META, **options},
        )


def test_a_line_is_found(tmp_path):
    examples = Examples()
    trained = examples.run(tmp_path, epochs=40, patience=40)
    assert trained.best_loss < 1e-4
    torch.testing.assert_close(
        examples.net.weight.detach(), torch.tensor([[2.0, -1.0]]), atol=0.02, rtol=0.0
    )


def test_the_network_is_left_at_its_best_epoch(tmp_path):
    examples = Examples(losses=[3.0, 1.0, 2.0, 1.0, 4.0])
    kept = {}

    def keep(epoch, row):
        kept[epoch] = examples.net.weight.detach().clone()

    trained = examples.run(tmp_path, epochs=4, progress=keep)
    assert (trained.best_epoch, trained.best_loss, trained.epoch) == (2, 1.0, 4)
    assert torch.equal(examples.net.weight, kept[2])
    assert not torch.equal(kept[2], kept[4])


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([3.0, 2.0, 2.0, 2.5, 1.0], 4),  # two epochs that are no better end it
        ([3.0, 2.0, 2.5, 1.0, 2.0, 2.0], 6),  # a better one in time does not
        ([math.nan] * 6, 2),
    ],
)
def test_training_ends_after_as_many_epochs_without_a_better_one_as_it_has_patience(
    tmp_path, losses, epochs
):
    examples = Examples(losses=losses)
    assert examples.run(tmp_path, epochs=6, patience=2).epoch == epochs
    assert examples.asked == list(range(1, epochs + 1))


def test_a_network_that_never_validates_better_is_left_as_it_started(tmp_path):
    examples = Examples(losses=[math.nan] * 3)
    start = examples.net.weight.detach().clone()
    assert examples.run(tmp_path, epochs=2).best_epoch == 0
    assert torch.equal(examples.net.weight, start)


def test_each_epoch_is_in_the_curve_the_scalars_and_the_callers_ear(tmp_path):
    heard = []
    trained = Examples().run(
        tmp_path, epochs=3, progress=lambda epoch, row: heard.append(dict(row))
    )
    assert read_curve(tmp_path / CURVE_FILE) == trained.curve == heard
    assert list(trained.curve[0]) == ["epoch", "train_loss", "validation_loss", "half"]
    events = EventAccumulator(str(tmp_path / LOGS)).Reload()
    assert sorted(events.Tags()["scalars"]) == [f"made/{name}" for name in sorted(heard[0])]
    assert [event.step for event in events.Scalars("made/half")] == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, cut):
    def stop(epoch, row):
        if epoch == cut:
            raise KeyboardInterrupt

    whole = Examples()
    expected = whole.run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Examples().run(tmp_path / "cut", progress=stop)
    again = Examples()
    torch.manual_seed(99)
    resumed = again.run(tmp_path / "cut", resume=True)
    assert again.asked == list(range(cut + 1, 7))
    assert resumed.curve == expected.curve
    assert torch.equal(again.net.weight, whole.net.weight)
    curves = [(tmp_path / name / CURVE_FILE).read_bytes() for name in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_a_run_whose_patience_ended_does_not_go_on(tmp_path):
    losses = [1.0, 2.0, 3.0, 0.5]
    Examples(losses).run(tmp_path, patience=2)
    again = Examples(losses)
    assert again.run(tmp_path, patience=2, resume=True).best_epoch == 1
    assert again.asked == []


def test_another_runs_checkpoints_are_refused_and_left(tmp_path):
    Examples().run(tmp_path, epochs=2)
    with pytest.raises(ConfigError, match="expected a run of the same seed, was another"):
        Examples().run(tmp_path, meta=META | {"seed": 1}, resume=True)
    assert latest(tmp_path / CHECKPOINTS).step == 2


def test_batches_hold_every_row_once():
    cut = shuffled(np.random.default_rng(3), 10, 4)
    assert [len(some) for some in cut] == [4, 4, 2]
    assert sorted(np.concatenate(cut)) == list(range(10))
    assert [some.tolist() for some in batches(np.arange(4), 4)] == [[0, 1, 2, 3]]
