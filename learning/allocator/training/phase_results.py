"""
What a training phase leaves behind, the same for every phase.

A phase owns a folder: its checkpoints, its logs, its curve, its exported policies and this
summary. What tells one run from another, and what a policy's card says of its training, are
alike for all, too. It knows no algorithm.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agents.messages import TrainingRecord
from config.errors import ConfigError, one_line
from config.files.json_text import read_json
from config.files.whole import write_whole
from learning.allocator.training.renamed import as_now
from learning.allocator.training.training_run import TrainingRun

RESULT_FILE = "result.json"
CURVE_FILE = "curve.csv"
CHECKPOINTS = "checkpoints"
LOGS = "tensorboard"
WARM_UP = "warm-up"  # the folder in a phase that has one


class PhaseResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A finished phase.

    `policies` are the exported policy folders by name ("top", "bottom-<group>", "bottom"),
    relative to `folder`; `seconds` the wall time by part ("environment", "rollout", "update",
    ...); `measures` the phase's own figures, by name; `curve` the CSV of its learning curve.
    """

    phase: str
    folder: str
    steps: int
    seconds: dict[str, float]
    measures: dict[str, float]
    policies: dict[str, str] = {}
    curve: str = CURVE_FILE
    notes: tuple[str, ...] = ()


def write_result(result: PhaseResult) -> PhaseResult:
    """Write a phase's summary into its folder, whole or not at all, and return it."""
    path = Path(result.folder) / RESULT_FILE
    write_whole(path, msgspec.json.format(msgspec.json.encode(result)))
    return result


def read_result(folder: Path) -> PhaseResult | None:
    """
    Return the summary of a finished phase where it lies now, None where it has not ended.

    Raises ConfigError where the file is no summary, or a part of one.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    summary = "a phase's summary (without the file the phase is trained again)"
    stored = as_now("result", read_json(path, dict[str, Any], summary))
    try:
        result = msgspec.convert(stored, PhaseResult)
    except msgspec.ValidationError as e:
        raise ConfigError(f"expected {summary} in {path}, was: {one_line(e)}") from e
    return msgspec.structs.replace(result, folder=str(folder))


def finished(run: TrainingRun, timesteps: int) -> PhaseResult | None:
    """Return the summary that a resumed run finds if it took so many steps; None otherwise."""
    result = read_result(run.folder) if run.resume else None
    return result if result is not None and result.steps >= timesteps else None


def identity(phase: str, run: TrainingRun) -> dict[str, Any]:
    """Return what tells one run's checkpoints from another's, as plain JSON."""
    windows = [[w.market, w.start, w.stop] for w in (*run.split.train, *run.split.validation)]
    return {"phase": phase, "digest": run.dataset.digest, "seed": run.seed, "windows": windows}


def training_record(run: TrainingRun, steps: int) -> TrainingRecord:
    """Return what a policy's card says of its training."""
    dataset, split = run.dataset, run.split
    markets = sorted({w.market for w in (*split.train, *split.validation)})
    return TrainingRecord(
        source=dataset.source,
        digest=dataset.digest,
        first_ts=split.learned_from,
        last_ts=split.learned_until,
        seeds=tuple(dataset.seeds[m] for m in markets) if dataset.seeds else (),
        steps=steps,
        seed=run.seed,
    )


def write_curve(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a learning curve, a row an update; the columns are the first row's names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def read_curve(path: Path) -> list[dict[str, float]]:
    """
    Return a learning curve as it was written.

    Raises ConfigError where a row is cut short or holds no numbers.
    """
    with path.open(newline="") as file:
        try:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as e:
            raise ConfigError(f"expected a learning curve in {path}, was: {one_line(e)}") from e
