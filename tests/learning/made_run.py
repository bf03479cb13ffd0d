"""A trainer's run on made data: the defaults, but for what a test says."""

from pathlib import Path
from typing import Any

from config.allocator import TrainingSettings
from config.settings import Settings
from learning.allocator.training.training_run import TrainingRun
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split

RUN = ("seed", "resume", "progress")


def made_run(
    dataset: Dataset, split: Split, folder: Path, trading: Settings | None = None, **options: Any
) -> TrainingRun:
    """Return a run under the rules of `trading`; `options` are its fields or those of settings."""
    rules = trading or Settings()
    given = {"seed": 0} | {name: options.pop(name) for name in RUN if name in options}
    settings = TrainingSettings(
        market=rules.market, limits=rules.limits, desk=rules.desk, **options
    )
    return TrainingRun(dataset, split, settings, folder, **given)
