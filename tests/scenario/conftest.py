"""
The real command line in true processes, and a tiny real market to run it on.

A process that has imported everything once is forked for each command, so that a command costs
what it does and not what Python's imports do. The child redirects its own file descriptors,
calls the entry point and ends as the interpreter would, without taking the imports down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SYMBOLS = ("AAPL", "IBM", "MSFT")
FORKED = """
import atexit, gc, json, os, signal, sys, tempfile, traceback
import alembic.command, skfolio.model_selection
import backtest.market.catalog, backtest.report.page, backtest.sources.folder
import ops.composition.backtest_run, ops.cli
from backtest.market.sessions import load_sessions
from config.settings import load_settings
from ops.composition.model_minds import build_mind

load_sessions("XNYS", 2020, 2020), load_sessions("XNYS", 2018, 2021)
build_mind(load_settings("backtest", environ={}))
gc.collect()
gc.freeze()
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
else:
    sys.exit(0)
flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(os.open(job["stdout"], flags), 1)
os.dup2(os.open(job["stderr"], flags), 2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
os.chdir(job["cwd"])
os.environ.update(job["env"])
tempfile.tempdir = None
sys.argv = ["quarterdeck", *job["argv"]]
try:
    ops.cli.main()
    code = 0
except SystemExit as end:
    code = end.code or 0
except BaseException:
    traceback.print_exc()
    code = 1
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (128 + n after signal n) and what it said."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands one at a time, each in a process of its own."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.process: subprocess.Popen[str] | None = None

    def _parent(self) -> subprocess.Popen[str]:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self.environ,
                cwd=ROOT,
            )
            assert self.process.stdout.readline() == "ready\n"
        return self.process

    def start(self, *argv: object, cwd: Path, env: dict[str, str] | None = None) -> int:
        """Begin a command; return its process id."""
        parent = self._parent()
        job = {
            "argv": [str(a) for a in argv],
            "cwd": str(cwd),
            "env": {"QUARTERDECK_HOME": str(cwd / "home"), **(env or {})},
            "stdout": str(self.folder / "stdout"),
            "stderr": str(self.folder / "stderr"),
        }
        parent.stdin.write(json.dumps(job) + "\n")
        parent.stdin.flush()
        return int(parent.stdout.readline())

    def end(self) -> Ended:
        """Wait for the command that was started last."""
        code = os.waitstatus_to_exitcode(int(self._parent().stdout.readline()))
        return Ended(
            code if code >= 0 else 128 - code,
            (self.folder / "stdout").read_text(),
            (self.folder / "stderr").read_text(),
        )

    def __call__(self, *argv: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
        """Run a command to its end."""
        self.start(*argv, cwd=cwd, env=env)
        return self.end()

    def close(self) -> None:
        """End the parent of all commands."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.stdout.close()
            assert self.process.wait(timeout=60) == 0


@pytest.fixture(scope="session")
def child_environ() -> dict[str, str]:
    """Return an environment without our own settings."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("QUARTERDECK")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1", "COLUMNS": "120"}
    return environ | threads | own


@pytest.fixture(scope="session")
def command(
    tmp_path_factory: pytest.TempPathFactory, child_environ: dict[str, str]
) -> Iterator[CommandLine]:
    """Return the command line; its first command waits for the imports."""
    command = CommandLine(tmp_path_factory.mktemp("command"), child_environ)
    yield command
    command.close()


@dataclass
class Market:
    """A folder of daily bars of three stocks and of news, as tables that a test may spoil."""

    bars: dict[str, pd.DataFrame]
    news: pd.DataFrame

    def write(self, folder: Path) -> Path:
        """Write a CSV file a symbol and one of news."""
        folder.mkdir(parents=True, exist_ok=True)
        for symbol, table in self.bars.items():
            table.to_csv(folder / f"{symbol}.csv", index=False)
        self.news.to_csv(folder / "news.csv", index=False)
        return folder


def _days(sessions: int) -> list[str]:
    from backtest.market.sessions import day_text, load_sessions

    calendar = load_sessions("XNYS", 2018, 2021)
    first = int(np.searchsorted(calendar.days, np.datetime64("2020-01-02").astype(int)))
    return [day_text(day) for day in calendar.days[first : first + sessions]]


@pytest.fixture(scope="session")
def tiny_market() -> Callable[..., Market]:
    """Return a maker of markets of `sessions` XNYS sessions from 2020-01-02 on."""

    def make(sessions: int = 70) -> Market:
        rng = np.random.default_rng(1)
        days = _days(sessions)
        bars, news = {}, []
        for k, symbol in enumerate(SYMBOLS):
            close = 50.0 * (k + 1) * np.exp(np.cumsum(rng.normal(5e-4, 0.012, sessions)))
            opened = np.append(close[:1], close[:-1])
            bars[symbol] = pd.DataFrame(
                {
                    "Date": days,
                    "Symbol": symbol,
                    "Open": opened.round(2),
                    "High": (np.maximum(opened, close) * 1.005).round(2),
                    "Low": (np.minimum(opened, close) * 0.995).round(2),
                    "Close": close.round(2),
                    "Volume": 1_000_000 + rng.integers(0, 1000, sessions),
                }
            )
            for i in range(1 + k, sessions, 3):
                said = ("strong growth beats estimates", "weak sales, guidance cut")[i % 2]
                news.append((f"{days[i]}T15:{30 + k}:00Z", symbol, f"{symbol}: {said}", "wire"))
        columns = ["time", "symbol", "headline", "publisher"]
        return Market(bars, pd.DataFrame(news, columns=columns))

    return make


@pytest.fixture(scope="session")
def profile_text() -> str:
    """Return a profile that decides after a few sessions already."""
    return "desk:\n  panel_sessions: 60\nlimits:\n  min_history: 20\n"


@pytest.fixture
def workplace(tmp_path: Path, tiny_market: Callable[..., Market], profile_text: str) -> Path:
    """Return a folder with a good source, a profile, a home and a folder for libraries."""
    tiny_market().write(tmp_path / "source")
    (tmp_path / "small.yaml").write_text(profile_text)
    (tmp_path / "home").mkdir()
    (tmp_path / "kept").mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_market: Callable[..., Market],
    profile_text: str,
    command: CommandLine,
) -> Path:
    """Return a workplace in which one run has ended; what it printed is in `printed.json`."""
    place = tmp_path_factory.mktemp("finished")
    tiny_market().write(place / "source")
    (place / "small.yaml").write_text(profile_text)
    (place / "kept").mkdir()
    words = ("--config", "small.yaml", "--source", "source", "--out", "kept/run")
    library = ("--library", "kept/library.sqlite")
    ended = command("backtest", *words, *library, "--json", cwd=place)
    assert ended.code == 0, ended.err
    (place / "printed.json").write_text(ended.out)
    return place


@pytest.fixture
def backtest_argv(workplace: Path) -> Callable[..., list[object]]:
    """Return a maker of a backtest's words, run in the workplace; options replace its own."""

    def words(**options: object) -> list[object]:
        given: dict[str, object] = {
            "config": "small.yaml",
            "source": "source",
            "library": "kept/library.sqlite",
            "out": "kept/run",
        } | options
        return ["backtest", *(w for k, v in given.items() for w in (f"--{k}", v))]

    return words


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Return a function that waits, up to a minute, for something to be so."""

    def wait(so: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not so():
            assert time.monotonic() < end, "expected it within a minute, was not so"
            time.sleep(0.002)

    return wait
