"""A phase's summary: what is finished, and what tells one run from another."""

from dataclasses import replace
from pathlib import Path

import pytest

from learning.allocator.training.phase_results import PhaseResult, finished, identity, write_result
from learning.datasets.windows import Window
from tests.learning.made_run import made_run
from tests.unit.learning.planted import planted_dataset, planted_split


@pytest.mark.parametrize(("timesteps", "known"), [(99, True), (100, True), (101, False)])
def test_a_phase_is_finished_with_as_many_steps_as_were_asked_for(tmp_path, timesteps, known):
    result = PhaseResult(phase="made", folder=str(tmp_path), steps=100, seconds={}, measures={})
    write_result(result)
    run = made_run(planted_dataset(), planted_split(), tmp_path, resume=True)
    assert finished(run, timesteps) == (result if known else None)
    assert finished(replace(run, resume=False), timesteps) is None


def test_a_phase_without_a_summary_is_not_finished(tmp_path):
    run = made_run(planted_dataset(), planted_split(), tmp_path / "missing", resume=True)
    assert finished(run, 1) is None


def test_runs_of_other_data_windows_or_seeds_are_other_runs():
    dataset, parts = planted_dataset(), planted_split()
    longer = replace(parts, train=(*parts.train, Window(1, 200, 210)))
    run = made_run(dataset, parts, Path())
    runs = [
        identity("graph", run),
        identity("macro", run),
        identity("graph", replace(run, dataset=replace(dataset, digest="other"))),
        identity("graph", replace(run, split=longer)),
        identity("graph", replace(run, seed=1)),
    ]
    assert all(a != b for i, a in enumerate(runs) for b in runs[:i])
    assert identity("graph", replace(run, split=replace(parts, test=()))) == runs[0]
