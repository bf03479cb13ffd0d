"""
Every command in README and docs is one that the command line knows, and runs.

Commands of code blocks stand below in a list by how long they take: the first run in the suite,
the others in a short form under `slow` or, against a server, under `vllm`. A command that is new
in a page needs its line here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.main import get_command

from backtest.market.sessions import day_text, load_sessions
from ops.cli import app

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMMAND = re.compile(r"(?:uv run |time )?quarterdeck (?P<words>.*)")
OPEN = re.compile(r"…|\.\.\.|\[")  # where a page leaves something out


@dataclass(frozen=True)
class Written:
    """A command as a page has it; one of a code `block` is complete."""

    page: str
    words: str
    block: bool

    @property
    def argv(self) -> list[str]:
        """Its words, without comments, what it is piped into and the marks of what is left out."""
        text = re.sub(r"[\[\]…]|\.\.\.", " ", self.words.split(" | ")[0])
        return shlex.split(text, comments=True)


def written() -> Iterator[Written]:
    for page in PAGES:
        fenced = False
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("```"):
                fenced = not fenced
            elif fenced or line.startswith("    "):
                if found := COMMAND.match(line.strip()):
                    words = re.sub(r"\s+#.*", "", found["words"])
                    yield Written(page.name, words, block=True)
            else:
                for code in re.findall(r"`([^`]+)`", line):
                    if found := COMMAND.match(code):
                        yield Written(page.name, found["words"], block=False)


WRITTEN = tuple(dict.fromkeys(written()))


def parse(argv: list[str], *, whole: bool) -> None:
    """Parse a command's words as the command line does; without `whole`, its options alone."""
    command, words = get_command(app), list(argv)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    unknown = {word for word in words if word.startswith("--")} - known - {"--help"}
    assert not unknown, f"no option {', '.join(sorted(unknown))}"
    if whole and "--help" not in words:
        command.make_context("quarterdeck", words)


@pytest.mark.parametrize("command", WRITTEN, ids=lambda c: f"{c.page}: {c.words}")
def test_a_documented_command_is_one_that_the_command_line_knows(command):
    parse(command.argv, whole=command.block and not OPEN.search(command.words))


@pytest.mark.parametrize(
    "words", ["sail", "data sail", "backtest --colour red", "backtest --seed", "data import x"]
)
def test_a_command_that_is_not_known_would_be_seen(words):
    with pytest.raises((AssertionError, typer.TyperException)):
        parse(shlex.split(words), whole=True)


# --- and they run -------------------------------------------------------------------------------

# as documented: as run, where that is another. The place holds `my_folder` and a finished run,
# whose decision, state and library stand for DECISION_ID, STATE and the default library.
SUITE = {  # beside what is printed
    "data check my_folder": ("", "my_folder: usable"),
    "backtest --source my_folder --start 2024-06-03": (
        "",
        "traded 2024-06-03 to 2024-07-31, 41 sessions: from --start to the end of the source; "
        "105 sessions before warm the features up",
    ),
    "data import my_folder --name mine": ("", "home/catalogs/mine"),
    "data export --out experiences.parquet": ("", "experiences.parquet"),
    "data export --table fills --run RUN_ID --out fills.jsonl": (
        "data export --table fills --out fills.jsonl",
        "fills.jsonl",
    ),
    "analyze AAPL": ("", "the newest session of packaged:apple"),
    "explain DECISION_ID": ("", "AAPL"),
    "replay DECISION_ID --without news": ("", "what if"),
    "chat": ("chat --ask 'What was traded?'", "What was traded?"),
    "bench port": ("bench port --cases 4", "cases"),
}
WEEKS = "--start 2012-11-01"
SIMULATED = "--start 2017-01-03 --end 2017-02-28"
TRAINED = "runs/allocator-multi-asset"
SLOW = {
    "backtest": f"backtest {WEEKS}",
    "backtest --walk-forward": "backtest --walk-forward --config walk.yaml --source source",
    "backtest --start 2010-01-04 --state runs/<run_id>/state": f"backtest {WEEKS} --state STATE",
    "backtest --config simulator": f"backtest --config simulator {SIMULATED}",
    "backtest --config simulator --state state": (
        f"backtest --config simulator {SIMULATED} --state STATE"
    ),
    "paper --replay packaged": f"paper --replay packaged {WEEKS}",
    "paper --replay packaged --start 2010-01-04 --end 2010-06-30": (
        "paper --replay packaged --start 2010-01-04 --end 2010-02-26"
    ),
    "paper --replay simulator --speed 5000000 --minds rules --out runs/paper": (
        f"paper --replay simulator --speed 50000000 --minds rules --out runs/paper {SIMULATED}"
    ),
    "backtest --minds embedded": (
        "backtest --minds embedded --end 2017-01-20 --completions-file answers.sqlite"
    ),
    "backtest --minds embedded --completions replay": (
        "backtest --minds embedded --completions replay --end 2017-01-20"
        " --completions-file answers.sqlite"
    ),
    "backtest --minds embedded --masking both": (
        "backtest --minds embedded --masking both --end 2017-01-13"
    ),
    "bench minds": "bench minds --prompts 4 --decisions 2",
    "bench hostile --minds embedded": "bench hostile",
    "bench desk": "bench desk --sessions 62",
    "bench supervisor": "bench supervisor --decisions 100 --seeds 1",
    "bench library": "bench library --rows 2000 --decisions 2000",
    "bench parity --schedules 200 --seed 7": "bench parity --schedules 4 --seed 7",
    "bench envs": "",
    "data collect-routes --num 10000 --out routes.parquet": (
        "data collect-routes --num 210 --out routes.parquet --config small.yaml --source source"
    ),
    "train supervisor --routes routes.parquet --out state": (
        "train supervisor --routes routes.parquet --out state --epochs 1"
    ),
    "train allocator --book multi-asset": "train allocator --book multi-asset --config tiny.yaml",
    "train allocator --book multi-asset --preset quick --out runs/quick": (
        "train allocator --book multi-asset --config tiny.yaml --out runs/quick"
    ),
    "train allocator --book multi-asset --out … --resume": (
        f"train allocator --book multi-asset --config tiny.yaml --out {TRAINED} --resume"
    ),
    "train allocator --book equity": (
        "train allocator --book equity --config equity.yaml --phase 1"
    ),
    f"evaluate allocator {TRAINED}": f"evaluate allocator {TRAINED} --no-oracles",
    f"evaluate allocator {TRAINED} --fresh-markets 60": (
        f"evaluate allocator {TRAINED} --fresh-markets 1 --no-oracles"
    ),
    "evaluate allocator runs/seed-0 runs/seed-1 runs/seed-2": (
        "evaluate allocator runs/quick --no-oracles --windows 1"
    ),
    f"backtest --config multi-asset --seed 500 --allocator {TRAINED}/policies": (
        f"backtest --config multi-asset --seed 500 --allocator {TRAINED}/policies {SIMULATED}"
    ),
    "bench ablations TRAINING": f"bench ablations {TRAINED} --seeds 2 --timesteps 256 --epochs 1",
}
MAKERS = {  # what a command needs: the one that makes it
    TRAINED: "train allocator --book multi-asset",
    "runs/quick": "train allocator --book multi-asset --preset quick --out runs/quick",
    "routes.parquet": "data collect-routes --num 10000 --out routes.parquet",
    "answers.sqlite": "backtest --minds embedded",
}
VLLM = {"backtest --minds vllm": "backtest --minds vllm --end 2017-01-06"}
TINY = """
dataset: {name: BOOK, seeds: 4, sessions: 150}
episode: {sessions: 60, min_sessions: 40, warm_up: 50, cohort: 4}
specialist_timesteps: 512
meta_timesteps: 512
ppo: {envs: 8, n_steps: 64, batch_size: 256, epochs: 1}
joint: {timesteps: 512, envs: 16, rollout_steps: 16, minibatch: 128, epochs: 1, critic_updates: 1}
"""


def test_every_command_of_a_code_block_is_run_somewhere():
    listed = {**SUITE, **SLOW, **VLLM}
    assert len(listed) == len(SUITE) + len(SLOW) + len(VLLM)
    assert {command.words for command in WRITTEN if command.block} == {*listed}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, finished: Path, profile_text: str) -> Path:
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    (folder / "home").mkdir(exist_ok=True)
    shutil.copy(folder / "kept" / "library.sqlite", folder / "home" / "experience.sqlite")
    walk = "walk_forward: {train: 30, test: 10, purge: 20, embargo: 0}\n"
    (folder / "walk.yaml").write_text(profile_text + walk)
    (folder / "tiny.yaml").write_text(TINY.replace("BOOK", "multi-asset"))
    (folder / "equity.yaml").write_text(TINY.replace("BOOK", "equity"))
    days = [day_text(day) for day in load_sessions("XNYS", 2023, 2024).days]
    write_bars(folder / "my_folder", days[days.index("2024-01-02") : days.index("2024-07-31") + 1])
    return folder


def write_bars(folder: Path, days: list[str]) -> None:
    """Write the smallest source that docs/data.md knows: one file of daily bars."""
    folder.mkdir()
    steps = np.random.default_rng(1).normal(5e-4, 0.01, len(days))
    close = (50 * np.exp(np.cumsum(steps))).round(2)
    bars = {"date": days, "symbol": "ACME", "open": close, "high": close, "low": close}
    pd.DataFrame(bars | {"close": close, "volume": 1_000_000}).to_csv(
        folder / "bars.csv", index=False
    )


def run(command: Any, place: Path, words: str, env: dict[str, str] | None = None) -> Any:
    first = (place / "kept" / "run" / "decisions.jsonl").read_bytes().splitlines()[0]
    words = words.replace("DECISION_ID", json.loads(first)["decision_id"])
    words = words.replace("STATE", "kept/run/state")
    ended = command(*shlex.split(words), cwd=place, env=env)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    return ended


@pytest.mark.parametrize("documented", SUITE)
def test_a_documented_command_runs(documented, command, place):
    short, said = SUITE[documented]
    assert said in " ".join(run(command, place, short or documented).out.split())


@pytest.mark.slow
@pytest.mark.parametrize("documented", SLOW)
def test_a_long_documented_command_runs_in_a_short_form(documented, command, place):
    words = SLOW[documented] or documented
    for made, maker in MAKERS.items():
        if made in words and documented != maker and not (place / made).exists():
            run(command, place, SLOW[maker])
    assert run(command, place, words).out


@pytest.mark.vllm
@pytest.mark.parametrize("documented", VLLM)
def test_a_documented_command_runs_against_a_server(documented, command, place):
    server = {"QUARTERDECK_MINDS__VLLM__BASE_URL": os.environ["QUARTERDECK_TEST_VLLM_URL"]}
    assert run(command, place, VLLM[documented] or documented, server).out


def test_a_source_alone_is_traded_whole_after_its_warm_up(command, place):
    first, *_ = json.loads(run(command, place, "backtest --source my_folder --json").out)["notes"]
    assert first == (
        "traded 2024-04-17 to 2024-07-31, 73 sessions: from the end of the warm-up to the end "
        "of the source; 73 sessions before warm the features up"
    )


def test_a_source_that_ends_in_2026_is_traded_to_its_end(command, place):
    days = [day_text(day) for day in load_sessions("XNYS", 2025, 2026).days]
    days = days[days.index("2025-11-03") : days.index("2026-01-30") + 1]
    write_bars(place / "newer", days)
    notes = json.loads(run(command, place, "backtest --source newer --json").out)["notes"]
    assert any(re.match(r"traded 2025-12-1\d to 2026-01-30, 31 sessions", n) for n in notes)
