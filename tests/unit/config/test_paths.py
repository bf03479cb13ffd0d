"""Places: what can be written is left as it was, what cannot is refused."""

import pytest

from config.errors import ConfigError
from config.files.paths import (
    SUPERVISOR_FILE,
    TRACK_FILE,
    check_file,
    check_folder,
    check_place,
    check_state,
)
from config.sources import book_of, check_source


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name in ("old", "empty", "new", "deep/er/new"):
        check_place(tmp_path / name)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["empty", "manifest.json", "old"]


def test_a_place_that_is_a_file_or_holds_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for place in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ConfigError, match=r"expected a new folder .* not replaced"):
            check_place(place)


@pytest.mark.parametrize("place", ["thesis.txt/run", "thesis.txt/deep/run"])
def test_a_place_below_a_file_is_refused(tmp_path, place):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="expected to write the run into"):
        check_place(tmp_path / place)


def test_a_place_of_which_a_part_only_can_be_made_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError, match="expected to write the run into"):
        check_place(tmp_path / "made" / ("x" * 300) / "run")
    assert not list(tmp_path.iterdir())


def test_a_file_or_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "notes").mkdir()
    for check in (check_file, check_folder):
        check(tmp_path / "new" / "one")
        with pytest.raises(ConfigError, match=r"expected to write .*thesis\.txt"):
            check(tmp_path / "thesis.txt" / "one")
    check_file(tmp_path / "thesis.txt")
    check_folder(tmp_path / "notes")
    with pytest.raises(ConfigError, match="expected a file to write, was the folder"):
        check_file(tmp_path / "notes")
    with pytest.raises(ConfigError, match="expected to write"):
        check_folder(tmp_path / "thesis.txt")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["notes", "thesis.txt"]


@pytest.mark.parametrize("missing", [SUPERVISOR_FILE, TRACK_FILE])
def test_a_snapshot_without_one_of_its_files_is_refused(tmp_path, missing):
    for name in (SUPERVISOR_FILE, TRACK_FILE):
        (tmp_path / name).write_text("")
    check_state(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=f"expected a snapshot with {missing}"):
        check_state(tmp_path)


def test_a_book_is_told_from_a_sources_name():
    assert book_of("equity") == ("equity", "simulator")
    assert book_of("multi-asset:a+b") == ("multi-asset", "a+b")
    assert book_of("equities:a") == (None, "equities:a")


def test_a_source_is_a_known_name_a_catalog_or_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("QUARTERDECK_HOME", str(tmp_path))
    (tmp_path / "catalogs" / "mine").mkdir(parents=True)
    (tmp_path / "catalogs" / "mine" / "quarterdeck.json").write_text("{}")
    (tmp_path / "a.csv").write_text("")
    here = str(tmp_path / "a.csv")
    for name in ("packaged", "simulator", "equity:mine", "mine", here, f"{here}+{tmp_path}"):
        check_source(name)
    for name in ("theirs", f"{here}+nowhere", "equity:theirs"):
        with pytest.raises(ConfigError, match="expected a source"):
            check_source(name)
