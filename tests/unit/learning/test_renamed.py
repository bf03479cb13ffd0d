"""Files of trainings made before are read under the names of now."""

import json

import numpy as np

from learning.allocator.training.checkpoints import latest, save_checkpoint
from learning.allocator.training.phase_results import read_result
from learning.allocator.training.renamed import as_now, folder_as_now
from ops.composition.training.allocator_training import read_settings


def test_a_phases_summary_of_before_has_the_names_of_now(tmp_path):
    before = {
        "phase": "specialist forex",
        "folder": "/elsewhere",
        "steps": 8,
        "seconds": {"update": 1.0, "first lesson": 2.0},
        "measures": {"first_lesson_sharpe": 0.5, "former_sharpe": 0.25, "best_step": 8.0},
    }
    (tmp_path / "result.json").write_text(json.dumps(before))
    result = read_result(tmp_path)
    assert result.folder == str(tmp_path)
    assert list(result.seconds) == ["update", "warm-up"]
    assert result.measures == {"warm_up_sharpe": 0.5, "earlier_sharpe": 0.25, "best_step": 8.0}


def test_a_checkpoint_of_before_has_the_names_of_now(tmp_path):
    slippage = np.arange(3)
    form = {"twin": {"slips": slippage, "seed": 1}, "stop": 4}
    meta = {"book": "abc", "former": ["one"], "seed": 0}
    save_checkpoint(tmp_path, 5, {"form": form, "former_sharpe": 0.5, "market": slippage}, meta)
    found = latest(tmp_path)
    assert found.meta == {"dataset": "abc", "earlier": ["one"], "seed": 0}
    assert found.state["earlier_sharpe"] == 0.5
    assert found.state["environment"]["stop"] == 4
    np.testing.assert_array_equal(found.state["environment"]["twin"]["slippage"], slippage)
    np.testing.assert_array_equal(found.state["market"], slippage)


def test_a_trainings_settings_of_before_are_read(tmp_path):
    before = {"book": "equity", "book_digest": "abc", "settings": {"book": {"name": "equity"}}}
    (tmp_path / "training.json").write_text(json.dumps(before))
    assert read_settings(tmp_path).dataset.name == "equity"
    now = {"book": "equity", "dataset_digest": "abc", "settings": {"dataset": {"name": "equity"}}}
    assert as_now("training", before) == now
    assert as_now("training", now) == now


def test_a_folder_of_before_is_read_where_it_alone_is_there(tmp_path):
    assert folder_as_now(tmp_path / "warm-up") == tmp_path / "warm-up"
    (tmp_path / "first-lesson").mkdir()
    assert folder_as_now(tmp_path / "warm-up") == tmp_path / "first-lesson"
    (tmp_path / "warm-up").mkdir()
    assert folder_as_now(tmp_path / "warm-up") == tmp_path / "warm-up"
