"""
What every trainer is given: the data, the settings of the whole training, and a folder of its own.

A trainer reads its own part of the settings and says in its checkpoints which parts those were.
This module knows no phase and no algorithm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.allocator.observation import Normaliser
from config.allocator import TrainingSettings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split
from learning.envs.environments import Arena

type Row = Mapping[str, float]
type Progress = Callable[[int, Row], None]  # steps or epochs done, and the curve's newest row


def no_progress(done: int, row: Row) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class TrainingRun:
    """
    One trainer's run.

    `folder` comes to hold its checkpoints, logs, curve, policies and summary; with `resume` it
    goes on from the newest checkpoint there and ends as a run that was never stopped. `seed` may
    differ from that of the settings: specialists each have their own.
    """

    dataset: Dataset
    split: Split
    settings: TrainingSettings
    folder: Path
    seed: int
    resume: bool = False
    progress: Progress = no_progress

    @property
    def gross(self) -> float:
        """The most that a policy may hold, a fraction of equity, with the desk's headroom."""
        return self.settings.limits.max_gross * self.settings.limits.headroom

    def arena(self, norm: Normaliser) -> Arena:
        """Return what episodes are drawn from: the training windows, under the desk's rules."""
        s = self.settings
        train = self.split.train
        return Arena(self.dataset, train, train, norm, s.trading, s.reward, s.episode)
