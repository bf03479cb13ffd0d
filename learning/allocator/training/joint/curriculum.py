"""
The joint phase's curriculum: its episodes start in calm sessions and get harder by levels.

The training windows are cut into stretches and these ranked by turbulence. Level 0 draws episodes
from the calmest share of them, each level from a larger one; the last level is the training as it
would be without a curriculum, whole episodes from anywhere, and a share of generated crises. A
level is passed on results: see `CurriculumSettings`.

Source: Bengio et al. 2009, "Curriculum Learning", easy examples first with the full distribution
at the end; that progress is measured by the learner's own result is ours. It knows no learner.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.arrays import FloatArray, IntArray
from config.allocator import CurriculumSettings, EpisodeSettings
from learning.datasets.dataset import Dataset
from learning.datasets.windows import EpisodeSampler, Window


class Curriculum(EpisodeSampler):
    """
    An `EpisodeSampler` whose windows and lengths depend on the level that has been reached.

    `windows` are training windows, `crises` those of generated markets, last level only. Without
    `settings.enabled` it starts at the last level, crises included: the ablation is of the order
    and not of the data. `windows` and `sessions` are those of the present level, crises aside.
    Raises DataError where the windows are too short for an episode.
    """

    def __init__(
        self,
        dataset: Dataset,
        windows: Sequence[Window],
        settings: CurriculumSettings,
        episode: EpisodeSettings,
        crises: Sequence[Window] = (),
    ) -> None:
        super().__init__(windows, episode)
        self.settings = settings
        self._crises = EpisodeSampler(crises, episode) if crises else None
        self._whole = self.windows
        self._longest = self.sessions
        if self._crises is not None:
            self._longest = min(self.sessions, self._crises.sessions)
        self._stretch = min(settings.stretch_sessions, self._longest)
        parts = stretches(windows, self._stretch)
        order = np.argsort(turbulence(dataset.returns, parts), kind="stable")
        self._calm_first = [parts[i] for i in order]
        self._at_level = 0  # updates
        self._passing = 0  # updates in a row that were good enough
        self._recent: list[float] = []
        self._enter(0 if settings.enabled else settings.levels - 1)

    @property
    def last(self) -> bool:
        """Whether nothing gets harder any more."""
        return self.level == self.settings.levels - 1

    def draw(self, count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return markets and first deciding sessions of `count` episodes, each (count,)."""
        if not self.last:
            chosen = [self.windows[i] for i in rng.integers(len(self.windows), size=count)]
            return (
                np.array([w.market for w in chosen], dtype=np.int64),
                np.array([w.start for w in chosen], dtype=np.int64),
            )
        market, start = super().draw(count, rng)
        if self._crises is not None:
            crisis = rng.random(count) < self.settings.crisis_share
            market[crisis], start[crisis] = self._crises.draw(int(crisis.sum()), rng)
        return market, start

    def report(self, reward: float) -> bool:
        """Take one update's mean reward a step; return whether the level rose."""
        s = self.settings
        self._recent = [*self._recent, reward][-s.window :]
        self._at_level += 1
        good = len(self._recent) == s.window and float(np.mean(self._recent)) >= s.pass_mark
        self._passing = self._passing + 1 if good else 0
        if self.last or (self._passing < s.patience and self._at_level < s.longest):
            return False
        self._at_level, self._passing, self._recent = 0, 0, []
        self._enter(self.level + 1)
        return True

    def state(self) -> dict[str, Any]:
        """Return where it stands, for a checkpoint."""
        return {
            "level": self.level,
            "at_level": self._at_level,
            "passing": self._passing,
            "recent": list(self._recent),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where it stood."""
        self._at_level, self._passing = state["at_level"], state["passing"]
        self._recent = list(state["recent"])
        self._enter(state["level"])

    def _enter(self, level: int) -> None:
        self.level = level
        share = (level + 1) / self.settings.levels
        calm = self._calm_first[: max(1, int(share * len(self._calm_first)))]
        self.windows = self._whole if self.last else tuple(calm)
        self.sessions = self._longest if self.last else self._stretch


def stretches(windows: Sequence[Window], length: int) -> list[Window]:
    """Cut windows into stretches of `length` sessions; what is left at an end is dropped."""
    return [
        Window(w.market, start, start + length)
        for w in windows
        for start in range(w.start, w.stop - length + 1, length)
    ]


def turbulence(returns: FloatArray, parts: Sequence[Window]) -> FloatArray:
    """
    Return how turbulent each stretch is: 1 is the average.

    It is the root mean square over sessions and instruments of the returns, each in units of its
    own instrument's over all stretches, so that a quiet currency counts as much as a wild stock.
    Shapes: returns (M, T, N), NaN where not traded -> (S,).
    """
    rows = [np.nan_to_num(returns[w.market, w.start : w.stop]) for w in parts]
    scale = np.sqrt(np.mean(np.concatenate(rows) ** 2, axis=0))
    unit = np.where(scale > 0, scale, 1.0)
    return np.array([float(np.sqrt(np.mean((row / unit) ** 2))) for row in rows])
