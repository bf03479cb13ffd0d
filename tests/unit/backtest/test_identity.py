"""What makes a run's id: each thing that can change a result, and nothing else."""

import sys

import msgspec
import pytest

from backtest.identity import (
    ENGINE_LIBRARIES,
    LIBRARIES,
    Completions,
    code_version,
    identity_of,
    installed,
    library_versions,
    run_id_of,
)
from backtest.plan import plan_run
from config.settings import MindSettings, Settings
from ops.composition.model_minds import build_mind
from tests.conftest import session


@pytest.fixture
def plan(make_market):
    market = make_market(sessions=40)
    start = session(25)[0]

    def make(settings=None, **given):
        settings = settings or Settings()
        return plan_run(market, settings, build_mind(settings), "fresh", start, **given)

    return make


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return an installer of a version's metadata, found before that of the real library."""

    def put(name, version):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))

    return put


def kept(digest="ab", **terms):
    return Completions(**{"mode": "replay", "replayable_digest": digest, **terms})


def test_the_same_plan_twice_is_one_run(plan):
    assert plan().run_id == plan().run_id
    assert plan(completions=kept()).run_id == plan(completions=kept()).run_id


@pytest.mark.parametrize("name", LIBRARIES)
def test_two_runs_that_differ_in_a_library_version_have_two_ids(plan, install, name):
    before = plan()
    install(name, "99.1")
    after = plan()
    assert after.manifest["libraries"] == before.manifest["libraries"] | {name: "99.1"}
    assert after.run_id != before.run_id


def test_a_library_that_the_run_does_not_use_is_no_part_of_its_id(plan, install):
    before = plan()
    install("torch", "99.1")
    install("matplotlib", "99.1")
    assert installed("torch") == "99.1"
    assert plan().run_id == before.run_id


def test_two_runs_that_differ_in_completions_have_two_ids(plan):
    plans = [
        plan(),
        plan(completions=kept("ab")),
        plan(completions=kept("cd")),
        plan(completions=kept("ab", mode="replay-or-live", nonce="1")),
        plan(completions=kept("ab", mode="replay-or-live", nonce="2")),
        plan(mode="paper"),
    ]
    assert len({made.run_id for made in plans}) == len(plans)


def test_a_manifest_read_back_gives_the_id_that_it_states(plan):
    made = plan(completions=kept(mode="live", nonce="5"))
    text = msgspec.json.format(msgspec.json.encode(made.manifest), indent=2)
    manifest = msgspec.json.decode(text)
    assert run_id_of(identity_of(manifest)) == manifest["run_id"] == made.run_id
    assert manifest["completions"] == {"mode": "live", "replayable_digest": "ab", "nonce": "5"}
    assert manifest["code"] == code_version()


@pytest.mark.parametrize(
    ("minds", "trained", "more"),
    [
        (MindSettings(), False, ()),
        (MindSettings(), True, ("torch",)),
        (MindSettings(kind="vllm"), False, ()),
        (MindSettings(kind="embedded"), False, ENGINE_LIBRARIES),
        (MindSettings(roles={"news": "embedded"}), True, ENGINE_LIBRARIES),
        (MindSettings(roles={"explainer": "embedded"}), False, ()),
        (MindSettings(kind="embedded", completions="replay"), False, ()),
    ],
)
def test_the_libraries_are_those_that_this_kind_of_run_computes_with(minds, trained, more):
    versions = library_versions(Settings(minds=minds), trained=trained)
    assert {*versions} == {"python", *LIBRARIES, *more}
    assert versions["python"] == "{}.{}".format(*sys.version_info[:2])
    assert "none" not in versions.values()


def test_a_library_that_is_not_installed_has_no_version():
    assert installed("no-such-library") == "none"
