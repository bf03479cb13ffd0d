"""A refusal is cheap: what can be told without an engine or a model is told before either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from learning.experience.library import open_library

HEAVY = ("nautilus_trader", "torch", "skfolio")
TABLES = "pandas"
RUN = """
import json, os, sys
import ops.cli

for line in sys.stdin:
    pipe, end = os.pipe()
    if os.fork() == 0:
        os.dup2(end, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["quarterdeck", *json.loads(line)]
        try:
            ops.cli.main()
        except SystemExit as e:
            code = e.code
        modules = [name for name in sys.modules if "." not in name]
        sys.stderr.write(json.dumps([code, modules]))
        sys.stderr.flush()
        os._exit(0)
    os.close(end)
    with os.fdopen(pipe) as said:
        print(json.dumps(said.read()), flush=True)
    os.wait()
"""


class Asked:
    """A command line that imports nothing before it is asked, in a process for each command."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environ | {"QUARTERDECK_HOME": str(folder / "home")},
        )

    def __call__(self, *argv: object) -> tuple[int, str, set[str]]:
        """Return the exit code, the words on standard error and the modules imported."""
        self.process.stdin.write(json.dumps([str(a) for a in argv]) + "\n")
        self.process.stdin.flush()
        said, _, facts = json.loads(self.process.stdout.readline()).rpartition("\n")
        code, modules = json.loads(facts)
        return code, said, set(modules)


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, tiny_market: Any, child_environ: dict[str, str]
) -> Any:
    folder = tmp_path_factory.mktemp("refused")
    tiny_market().write(folder / "source")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.txt").write_text("years of work")
    (folder / "notes.sqlite").write_text("these are notes\n" * 400)
    (folder / "bad.yaml").write_text("limits: {max_positon: 0.1}\n")
    open_library(folder / "library.sqlite").close()
    asked = Asked(folder, child_environ)
    yield asked
    asked.process.stdin.close()
    assert asked.process.wait(timeout=60) == 0
    asked.process.stdout.close()


BACKTEST = ("backtest", "--source", "source")
WITHOUT_DATA = {
    "a profile that is not there": (("backtest", "--config", "daring"), "'daring'"),
    "a wrong field of a profile": (("backtest", "--config", "bad.yaml"), "limits.max_positon"),
    "an unknown option": (("backtest", "--colour", "red"), "--colour"),
    "unknown minds": ((*BACKTEST, "--minds", "psychic"), "psychic"),
    "a source that is not there": (("backtest", "--source", "nowhere"), "'nowhere'"),
    "a book's source that is not there": (("backtest", "--source", "equity:no"), "'no'"),
    "a date that is none": ((*BACKTEST, "--start", "soon"), "'soon'"),
    "a start after the end": (
        (*BACKTEST, "--start", "2020-03-02", "--end", "2020-02-03"),
        "2020-03-02 to 2020-02-03",
    ),
    "a start after the profile's end": (
        ("backtest", "--start", "2013-01-02"),
        "flags: data: expected a start on or before the end, was 2013-01-02",
    ),
    "a state that is not there": ((*BACKTEST, "--state", "nowhere"), "supervisor.npz"),
    "policies that are not there": ((*BACKTEST, "--allocator", "nowhere"), "nowhere"),
    "a folder of another kind": ((*BACKTEST, "--out", "thesis"), "not replaced"),
    "a folder that cannot be made": ((*BACKTEST, "--out", "bad.yaml/run"), "bad.yaml/run"),
    "a library in no folder": ((*BACKTEST, "--library", "nowhere/l.sqlite"), "nowhere"),
    "a file that is no library": ((*BACKTEST, "--library", "notes.sqlite"), "another kind"),
    "a paper source that is not there": (("paper", "--replay", "nowhere"), "'nowhere'"),
    "a speed that is none": (("paper", "--replay", "source", "--speed", "-1"), "--speed"),
    "a paper library in no folder": (
        ("paper", "--replay", "source", "--library", "nowhere/l.sqlite"),
        "nowhere",
    ),
    "an analysis of no source": (("analyze", "IBM", "--source", "nowhere"), "'nowhere'"),
    "a replay without a library": (("replay", "abc"), "experience.sqlite"),
    "a replay by unknown minds": (("replay", "abc", "--minds", "psychic"), "psychic"),
    "an unknown decision": (("replay", "abc", "--library", "library.sqlite"), "abc"),
    "an explanation without a library": (("explain", "abc"), "experience.sqlite"),
    "a day that is none": (("commentary", "--date", "soon"), "'soon'"),
    "a chat with an unknown run": (
        ("chat", "--ask", "why?", "--library", "library.sqlite", "--run", "abc"),
        "abc",
    ),
    "a catalog's name that is a path": (("data", "import", "source", "--name", "../x"), "../x"),
    "an import to a date that is none": (
        ("data", "import", "source", "--name", "x", "--end", "soon"),
        "'soon'",
    ),
    "an import of nothing": (("data", "import", "nowhere", "--name", "x"), "'nowhere'"),
    "an export without a library": (("data", "export", "--out", "x.jsonl"), "experience.sqlite"),
    "an export in no known form": (
        ("data", "export", "--library", "library.sqlite", "--out", "x.csv"),
        ".jsonl or .parquet",
    ),
    "an export of no table": (
        ("data", "export", "--library", "library.sqlite", "--out", "x.jsonl", "--table", "sails"),
        "'sails'",
    ),
    "an export of an unknown run": (
        ("data", "export", "--library", "library.sqlite", "--out", "x.jsonl", "--run", "abcdef"),
        "'abcdef'",
    ),
    "an export over a file": (
        (
            *("data", "export", "--library", "library.sqlite"),
            *("--out", "bad.yaml", "--format", "jsonl"),
        ),
        "not replaced",
    ),
    "routes of no source": (
        ("data", "collect-routes", "--source", "nowhere", "--out", "routes"),
        "'nowhere'",
    ),
    "routes into a folder": (("data", "collect-routes", "--out", "thesis"), "thesis"),
    "training on no routes": (
        ("train", "supervisor", "--routes", "nowhere", "--out", "state"),
        "nowhere",
    ),
    "a state in place of a thesis": (
        ("train", "supervisor", "--routes", "nowhere", "--out", "thesis"),
        "not replaced",
    ),
    "routes below a file": (("data", "collect-routes", "--out", "bad.yaml/r"), "bad.yaml/r"),
    "a state below a file": (
        ("train", "supervisor", "--routes", "nowhere", "--out", "bad.yaml/state"),
        "bad.yaml/state",
    ),
    "a training in place of a file": (
        ("train", "allocator", "--book", "equity", "--out", "bad.yaml"),
        "bad.yaml",
    ),
    "an evaluation in place of a file": (
        ("evaluate", "allocator", "training", "--out", "bad.yaml"),
        "bad.yaml",
    ),
    "a bench's curves in place of a folder": (
        ("bench", "supervisor", "--out", "thesis"),
        "was the folder thesis",
    ),
    "a bench's curves below a file": (
        ("bench", "supervisor", "--out", "bad.yaml/curves.png"),
        "bad.yaml/curves.png",
    ),
    "training on no source": (
        ("train", "allocator", "--book", "equity", "--source", "nowhere"),
        "'nowhere'",
    ),
    "a training in place of a thesis": (
        ("train", "allocator", "--book", "equity", "--out", "thesis"),
        "thesis",
    ),
    "an evaluation of no training": (("evaluate", "allocator", "nowhere"), "nowhere"),
    "a bench of unknown minds": (("bench", "minds", "--minds", "psychic"), "psychic"),
    "a bench of minds that are no models": (("bench", "minds", "--minds", "rules"), "'rules'"),
    "an import as the simulator": (("data", "import", "source", "--name", "simulator"), "simul"),
    "an import as a packaged source": (
        ("data", "import", "source", "--name", "packaged:apple"),
        "'packaged:apple'",
    ),
    "an import as a book's source": (
        ("data", "import", "source", "--name", "equity:mine"),
        "'equity:mine'",
    ),
    "an attack on unknown minds": (("bench", "hostile", "--minds", "psychic"), "psychic"),
}
OF_DATA = {
    "a book without contracts": (
        ("backtest", "--source", "multi-asset:source"),
        "of the groups commodity, forex, index in source, was AAPL, IBM, MSFT",
    ),
    "a book's unknown symbol": (
        ("paper", "--replay", "multi-asset:simulator", "--symbols", "IBM"),
        "was IBM",
    ),
    "an unknown symbol": ((*BACKTEST, "--symbols", "IBM,TSLA"), "was TSLA"),
    "a start after the data": ((*BACKTEST, "--start", "2030-01-02"), "2030-01-02"),
    "an analysis of an unknown symbol": (("analyze", "TSLA", "--source", "source"), "'TSLA'"),
    "routes of an unknown symbol": (
        ("data", "collect-routes", "--source", "source", "--symbols", "TSLA", "--out", "routes"),
        "was TSLA",
    ),
}


@pytest.mark.parametrize("fault", WITHOUT_DATA)
def test_what_can_be_told_without_data_is_refused_before_any_are_read(fault, asked):
    argv, word = WITHOUT_DATA[fault]
    code, said, modules = asked(*argv)
    assert (code, said.count("\n")) == (2, 0), said
    assert word in said
    assert not modules & {*HEAVY, TABLES}


@pytest.mark.parametrize("fault", OF_DATA)
def test_what_the_data_tell_is_refused_before_an_engine_is_imported(fault, asked):
    argv, word = OF_DATA[fault]
    code, said, modules = asked(*argv)
    assert (code, said.count("\n")) == (2, 0), said
    assert word in said
    assert TABLES in modules
    assert not modules & {*HEAVY}


@pytest.mark.parametrize("words", [(), ("data",)])
def test_without_a_command_the_help_is_printed_as_it_is(words, asked):
    code, said, _ = asked(*words)
    assert code == 2
    assert said.startswith("Usage: ")
    assert "\n\nCommands:\n" in said


def test_help_of_every_command_imports_neither_rich_nor_pydantic(child_environ, tmp_path):
    walk = """
import contextlib, io, sys
from typer.main import get_command
from ops.cli import app

def walk(command, path):
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        yield from walk(sub, (*path, name))
    yield path

said = io.StringIO()
with contextlib.redirect_stdout(said):
    paths = list(walk(get_command(app), ()))
    for path in paths:
        app([*path, "--help"], standalone_mode=False)
assert said.getvalue().count("Usage: ") == len(paths) > 20
print(*sorted({"rich", "pydantic", "numpy", "yaml", "msgspec"} & {*sys.modules}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", walk],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=child_environ,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("\n", "")


def test_a_refusal_takes_at_most_a_second_and_a_half_of_processor_time(child_environ, tmp_path):
    def seconds() -> float:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "backtest", "--source", "nowhere"],
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env=child_environ | {"QUARTERDECK_HOME": str(tmp_path)},
        )
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        assert process.returncode == 2
        return used.ru_utime + used.ru_stime

    assert min(seconds() for _ in range(3)) < 1.5
