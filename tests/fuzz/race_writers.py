"""The real writers of run folders and trainings, on small payloads, for processes of their own."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from agents.allocator.policy_file import save_policy
from agents.supervisor.saved_state import write_state
from backtest.report.output import write_run
from backtest.statistics.summary import summarise
from config.allocator import TrainingSettings
from config.files.in_use import in_use
from config.files.whole import sweep_below, write_whole
from learning.allocator.phases import Training, publish
from learning.allocator.training.checkpoints import latest, save_checkpoint
from learning.allocator.training.phase_results import (
    CHECKPOINTS,
    CURVE_FILE,
    PhaseResult,
    read_curve,
    read_result,
    write_curve,
    write_result,
)
from ops.printing import write_json
from tests.unit.agents.policies import card, network
from tests.unit.backtest.synthetic_run import synthetic_run

SEEDS = ("1", "2")
PHASE = "2-meta"
RUNS = {seed: synthetic_run(seed=int(seed), sessions=80) for seed in SEEDS}
SUMMARIES = {seed: summarise(run, seed=1) for seed, run in RUNS.items()}


def run(out: str, seed: str) -> None:
    """Write the run folder of a seed."""

    def save_state(folder: Path) -> None:
        write_state(folder / "supervisor.npz", {"weights": np.full(50, float(seed))})
        write_whole(folder / "track.json", seed.encode())

    write_run(RUNS[seed], SUMMARIES[seed], Path(out), save_state)


def train(out: str, seed: str) -> None:
    """Begin or go on with a training, and leave in it what a phase of a seed leaves."""
    folder = Path(out)
    place = folder / PHASE
    step = int(seed)
    with in_use(folder):
        sweep_below(folder)
        read_left(folder)
        write_json(folder / "training.json", {"book": "multi-asset"})
        state = {"weights": np.full(50, float(seed))}
        save_checkpoint(place / CHECKPOINTS, step, state, {"seed": seed}, score=float(seed))
        write_curve(place / CURVE_FILE, [{"steps": step, "reward": 0.5}] * 20)
        save_policy(place / "top", network("top", seed=step), card("top", name=seed))
        write_result(
            PhaseResult(
                phase="meta",
                folder=str(place),
                steps=step,
                seconds={},
                measures={},
                policies={"top": "top"},
            )
        )
        publish(training(folder))
        write_json(folder / "summary.json", {"steps": step})


def read_left(folder: Path) -> None:
    """Read what an earlier process left of a training: all that is there can be read."""
    place = folder / PHASE
    read_result(place)
    latest(place / CHECKPOINTS)
    if (place / CURVE_FILE).exists():
        read_curve(place / CURVE_FILE)


def training(folder: Path) -> Training:
    """Return a training whose dataset is never looked into."""
    made = SimpleNamespace(name="multi-asset", groups=("forex",))
    return Training(made, None, TrainingSettings(), folder, True, lambda *_: None)
