"""Races and kills around the writers of run folders and trainings, in processes of their own."""

import hashlib
import random
import signal
import time

import pytest

from agents.allocator.policy_file import read_card
from tests.forker import REFUSED, Forker
from tests.fuzz.race_writers import PHASE, SEEDS

MANY = pytest.param(100, marks=pytest.mark.fuzz)  # for each of two: runs and trainings


@pytest.fixture(scope="module")
def forked():
    with Forker("tests.fuzz.race_writers") as forker:
        yield forker


def content(folder):
    """Return the digests of a folder's files, wherever it lies."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes().replace(str(folder).encode(), b"PLACE")
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(forked, tmp_path_factory):
    """Return what each writer leaves for each seed, and how long it takes at most."""
    found, longest = {}, {}
    for writer in ("run", "train"):
        for seed in SEEDS:
            folder = tmp_path_factory.mktemp(writer) / seed
            begun = time.monotonic()
            assert forked((writer, folder, seed)) == [0]
            longest[writer] = time.monotonic() - begun
            found[writer, seed] = content(folder)
        assert found[writer, "1"] != found[writer, "2"]
    return found, longest


def hidden(folder):
    return sorted(p.name for p in folder.rglob("*") if p.name.startswith("."))


def assert_whole(folder, undisturbed):
    """Check that every file of a training is one seed's, and every policy is as a whole."""
    wholes = [undisturbed["train", seed] for seed in SEEDS]
    left = {k: v for k, v in content(folder).items() if "/." not in f"/{k}"}
    for name, digest in left.items():
        assert digest in {whole.get(name) for whole in wholes}, name
    for place in (f"{PHASE}/top/", "policies/"):
        here = {k: v for k, v in left.items() if k.startswith(place)}
        choices = [{k: v for k, v in w.items() if k.startswith(place)} for w in wholes]
        assert here in [{}, *choices], place


@pytest.mark.parametrize("races", [4, MANY])
def test_of_two_runs_into_one_folder_one_stands_whole(races, forked, undisturbed, tmp_path):
    wholes, _ = undisturbed
    for k in range(races):
        out = tmp_path / str(k % 3) / "run"  # a new folder at first, then an earlier run's
        assert forked(*[("run", out, seed) for seed in SEEDS]) == [0, 0]
        assert content(out) in [wholes["run", seed] for seed in SEEDS]
        assert [p.name for p in out.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("races", [4, MANY])
def test_of_two_trainings_in_one_folder_one_is_refused(races, forked, undisturbed, tmp_path):
    wholes, _ = undisturbed
    refused = 0
    for k in range(races):
        out = tmp_path / str(k) / "training"
        codes = forked(*[("train", out, seed) for seed in SEEDS])
        assert sorted(codes) in ([0, 0], [0, REFUSED])
        refused += REFUSED in codes
        if REFUSED in codes:
            assert content(out) == wholes["train", SEEDS[codes.index(0)]]
        assert hidden(out.parent) == []
    assert refused > races // 2


@pytest.mark.parametrize("kills", [6, MANY])
def test_a_killed_run_leaves_the_old_folder_or_the_new(kills, forked, undisturbed, tmp_path):
    wholes, longest = undisturbed
    rng = random.Random(kills)
    out, old, killed = tmp_path / "run", "1", 0
    assert forked(("run", out, old)) == [0]
    while killed < kills:
        new = SEEDS[old == "1"]
        moment = rng.uniform(0.0, 1.1 * longest["run"])
        (code,) = forked(("run", out, new), kill_after=moment)
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        found = content(out)
        assert found in (wholes["run", old], wholes["run", new])
        old = new if found == wholes["run", new] else old
    assert forked(("run", out, old)) == [0]
    assert content(out) == wholes["run", old]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kills", [6, MANY])
def test_a_killed_training_leaves_whole_files_and_goes_on(kills, forked, undisturbed, tmp_path):
    wholes, longest = undisturbed
    rng = random.Random(kills)
    killed = 0
    while killed < kills:
        out = tmp_path / str(killed % 7)
        moment = rng.uniform(0.0, 1.1 * longest["train"])
        (code,) = forked(("train", out, rng.choice(SEEDS)), kill_after=moment)
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        if out.exists():
            assert_whole(out, wholes)
        if killed % 3 == 0:
            assert forked(("train", out, "2")) == [0]
            assert content(out).items() >= wholes["train", "2"].items()
            assert read_card(out / "policies" / "top").name == "2"
            assert hidden(out) == []
    for k in range(min(kills, 7)):
        assert forked(("train", tmp_path / str(k), "1")) == [0]
    assert hidden(tmp_path) == []
