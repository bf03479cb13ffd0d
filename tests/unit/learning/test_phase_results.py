"""A phase's summary: what is finished, and what tells one run from another."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from config.errors import ConfigError
from learning.allocator.training.phase_results import (
    CURVE_FILE,
    RESULT_FILE,
    PhaseResult,
    finished,
    identity,
    read_curve,
    read_result,
    write_curve,
    write_result,
)
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


@pytest.mark.parametrize("text", ["", '{"phase": "made", "fol', "[]", "{}", '{"phase": 1}'])
def test_a_summary_that_was_cut_is_one_line(tmp_path, text):
    (tmp_path / RESULT_FILE).write_text(text)
    with pytest.raises(
        ConfigError, match=r"^expected a phase's summary .* in .*result\.json'?, was: "
    ):
        read_result(tmp_path)


@pytest.mark.parametrize("text", ["steps,reward\n1,0.5\n2", "steps,reward\n1,no"])
def test_a_curve_that_was_cut_is_one_line(tmp_path, text):
    (tmp_path / CURVE_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"^expected a learning curve in .*curve\.csv, was: "):
        read_curve(tmp_path / CURVE_FILE)


def test_a_full_disk_leaves_the_summary_and_the_curve_that_were_there(tmp_path, monkeypatch):
    result = PhaseResult(phase="made", folder=str(tmp_path), steps=100, seconds={}, measures={})
    write_result(result)
    write_curve(tmp_path / CURVE_FILE, [{"steps": 1.0}])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"^expected to write .*result\.json, was: No space"):
        write_result(msgspec.structs.replace(result, steps=200))
    with pytest.raises(ConfigError, match=r"^expected to write .*curve\.csv, was: No space"):
        write_curve(tmp_path / CURVE_FILE, [{"steps": 2.0}])
    assert read_result(tmp_path) == result
    assert read_curve(tmp_path / CURVE_FILE) == [{"steps": 1.0}]
    assert sorted(p.name for p in tmp_path.iterdir()) == [CURVE_FILE, RESULT_FILE]


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
