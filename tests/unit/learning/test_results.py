"""A phase's summary: what is finished, and what tells one run from another."""

from dataclasses import replace

import pytest

from learning.allocator.training.phase_results import PhaseResult, finished, identity, write_result
from learning.datasets.windows import Window
from tests.unit.learning.planted import planted_book, planted_split


@pytest.mark.parametrize(("timesteps", "known"), [(99, True), (100, True), (101, False)])
def test_a_phase_is_finished_with_as_many_steps_as_were_asked_for(tmp_path, timesteps, known):
    result = PhaseResult(phase="made", folder=str(tmp_path), steps=100, seconds={}, measures={})
    write_result(result)
    assert finished(tmp_path, timesteps) == (result if known else None)


def test_a_phase_without_a_summary_is_not_finished(tmp_path):
    assert finished(tmp_path / "missing", 1) is None


def test_runs_of_other_data_windows_or_seeds_are_other_runs():
    book, parts = planted_book(), planted_split()
    longer = replace(parts, train=(*parts.train, Window(1, 200, 210)))
    runs = [
        identity("graph", book, parts, 0),
        identity("macro", book, parts, 0),
        identity("graph", replace(book, digest="other"), parts, 0),
        identity("graph", book, longer, 0),
        identity("graph", book, parts, 1),
    ]
    assert all(a != b for i, a in enumerate(runs) for b in runs[:i])
    assert identity("graph", book, replace(parts, test=()), 0) == runs[0]
