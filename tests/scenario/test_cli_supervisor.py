"""Routes collected, a supervisor trained on them, a run that starts on it: real commands."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_routes_are_collected_once_trained_on_and_a_run_on_the_same_data_says_so(
    command, workplace
):
    collect = (
        "data",
        "collect-routes",
        "--source",
        "source",
        "--config",
        "small.yaml",
        "--num",
        420,
        "--json",
    )
    first = command(*collect, "--out", "routes.parquet", cwd=workplace)
    assert (first.code, first.err) == (0, "")
    facts = json.loads(first.out)
    # in the first sessions of so short a history some instruments have no evidence at all
    assert (facts["rows"], facts["collected_now"]) == (7 * facts["cases"], True)
    assert 100 < facts["rows"] < 420
    before = (workplace / "routes.parquet").read_bytes()
    again = json.loads(command(*collect, "--out", "routes.parquet", cwd=workplace).out)
    assert again["collected_now"] is False
    assert command(*collect, "--out", "second.parquet", cwd=workplace).code == 0
    assert (workplace / "second.parquet").read_bytes() == before

    train = ("train", "supervisor", "--routes", "routes.parquet", "--epochs", 2, "--json")
    trained = command(*train, "--out", "state", cwd=workplace)
    assert trained.code == 0, trained.err
    report = json.loads(trained.out)
    assert report["validated_on"]["sessions"] == facts["sessions"] // 5 > 1
    assert set(report["routers"]) >= {"NeuralUCB", "LinUCB", "always-all", "random"}
    assert {p.name for p in (workplace / "state").iterdir()} == {
        "supervisor.npz",
        "track.json",
        "report.json",
        "validation.png",
    }
    run = command(
        "backtest",
        "--source",
        "source",
        "--config",
        "small.yaml",
        "--state",
        "state",
        "--out",
        "run",
        cwd=workplace,
    )
    assert run.code == 0, run.err
    manifest = json.loads((workplace / "run" / "manifest.json").read_bytes())
    assert manifest["start_state_digest"] == report["state_digest"]
    page = (workplace / "run" / "report.html").read_text(encoding="utf-8")
    assert page.index("OVERLAP") < page.index("<h1>") < page.index("<h2>Routes</h2>")


def test_bad_routes_and_places_end_in_one_line_and_code_two(command, workplace):
    (workplace / "text").write_text("no table")
    (workplace / "full").mkdir()
    (workplace / "full" / "thesis.txt").write_text("keep me")
    collect = ("data", "collect-routes", "--source", "source", "--config", "small.yaml")
    train = ("train", "supervisor", "--routes")
    for argv, said in (
        ((*collect, "--num", 10**7, "--out", "a.parquet"), "at most --num"),
        ((*collect, "--num", 70, "--out", "full"), "was the folder"),
        ((*collect, "--num", 70, "--out", "text"), "was another file"),
        ((*train, "none.parquet", "--out", "s"), "was no file"),
        ((*train, "text", "--out", "s"), "was another file"),
        ((*train, "text", "--out", "full"), "not replaced"),
    ):
        ended = command(*argv, cwd=workplace)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
        assert len(ended.err.splitlines()) == 1
    assert (workplace / "text").read_text() == "no table"
    assert (workplace / "full" / "thesis.txt").read_text() == "keep me"
