"""Command lines by strangers, in process: an end in time, a code that says why, one short line."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ops.cli
from agents.messages import Decision
from config.errors import MOST_CHARS
from learning.experience.library import open_library
from ops.bench.library import sample_records, sample_run
from tests.fuzz.hostile_text import PASSWORD, WORDS, in_time, text

pytestmark = pytest.mark.fuzz

SLOW_IMPORTS = (  # what a process imports once is not what a command line costs
    *("learning.allocator.phases", "ops.composition.backtest_run", "ops.composition.paper_run"),
    *("ops.composition.answers", "ops.composition.training.allocator_evaluation", "ops.api"),
    *("ops.composition.training.supervisor_training", "ops.bench.minds", "ops.bench.ablations"),
    *("backtest.market.catalog", "backtest.check", "skfolio.model_selection", "openai"),
)

RECORDS = tuple(sample_records(3))
DECISIONS = tuple(r.decision_id for r in RECORDS if isinstance(r, Decision))
JSON = b'{"run_id": "x", "observation_version": 1, "settings": {}, "format": 1, "header": 3}'
FILES = {
    "empty.csv": b"",
    "noise.csv": bytes(range(256)) * 40,
    "cell.csv": b"Date,Open,High,Low,Close,Volume\n2020-01-02," + b"9" * 2_000_000 + b",1,1,1,1\n",
    "nul.csv": b"Date,Open\n2020-01-02,\x00\n",
    "bars.csv": b"Date,Symbol,Open,High,Low,Close,Volume\n2020-01-02,IBM,1,1,1,1,1\n",
    "noise.parquet": b"PAR1" + b"\xff" * 400 + b"PAR1",
    "noise.jsonl": b"[" * 200_000,
    "page.json": JSON,
    "deep.json": b'{"a":' * 100_000,
    "huge.json": b'{"settings": {"seed": ' + b"9" * 6_000 + b"}}",
    "cell.json": b'{"settings": "' + b"x" * 3_000_000 + b'"}',
    "nul.yaml": b"seed: \x00\n",
    "deep.yaml": b"seed: " + b"[" * 100_000,
    "float.yaml": b"seed: !!float x\n",
    "long.yaml": b"#" * 3_000_000,
    "vllm.yaml": b"minds: {kind: vllm, vllm: {base_url: 'http://127.0.0.1:1/v1', retries: 0}}",
    "long.txt": b"x" * 3_000_000,
    "noise.sqlite": b"SQLite format 3\x00" + b"\xff" * 4_000,
    "junior.py": b"\x00\xff not python",
}
HOLDERS = {  # what a folder may be taken for, by the files in it
    "state": ("supervisor.npz", "track.json"),
    "training": ("training.json", "policies/top/policy.json", "1-specialists/result.json"),
    "policies": ("top/policy.json", "bottom/policy.json", "top/policy.safetensors"),
    "source": ("source.yaml", "bars.csv", "news.csv"),
    "catalog": ("quarterdeck.json",),
    "run": ("manifest.json", "results.json"),
}
FOLDERS = tuple(f"{kind} of {name}" for kind in HOLDERS for name in FILES)


def either(*usual: str, or_else: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return one of the usual values as often as not, else something else."""
    return st.booleans().flatmap(lambda good: st.sampled_from(usual) if good else or_else)


hostile = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), text)
place = st.one_of(
    st.sampled_from((*FILES, "folder", "nowhere", "nowhere/at/all", "library.sqlite")),
    st.sampled_from(FOLDERS),
    st.sampled_from(FOLDERS),
    st.sampled_from(WORDS),
)
number = either("1", "2", "100", or_else=hostile)
day = either("2020-01-02", "2010-01-04", "9999-12-31", "0001-01-01", or_else=hostile)
mind = either("rules", "vllm", or_else=hostile)  # the embedded one takes 10 s to unpack
config = either("backtest", "simulator", "vllm.yaml", or_else=place)
library = either("library.sqlite", or_else=place)
seed = {"--seed": number}
run = {
    "--config": config,
    "--start": day,
    "--end": day,
    "--symbols": hostile,
    "--allocator": place,
    "--completions": either("live", "replay", "record", or_else=hostile),
    "--completions-file": place,
    "--library": library,
    "--out": place,
    **seed,
}
recorded = either("sample", or_else=hostile)
said = {"--library": library, "--run": recorded, "--config": config, **seed}
decision = either(*DECISIONS, or_else=hostile)

# What is asked: a command's words, with values that it cannot work on for long, and its options.
type Asked = tuple[tuple[str, ...], tuple[st.SearchStrategy[str], ...], dict[str, object]]
unusable = st.one_of(
    st.just("bars.csv"),  # one bar: too few to trade
    st.sampled_from(sorted(FILES)),
    st.sampled_from(FOLDERS),
    st.sampled_from(
        ("nowhere", "folder", "/dev/zero", "a" * 5_000, "a" * 300, "~nobody-of/x", "")
    ),
)
wrong = st.sampled_from(("0", "-1", "nan", "x", "", "1e9", "9" * 5_000, "\u202e", "0.5"))
COMMANDS: dict[str, Asked] = {
    "backtest": (("--source",), (unusable,), run | {"--state": place, "--walk-forward": None}),
    "paper": (("--replay",), (unusable,), run | {"--speed": number}),
    "analyze": (
        ("", "--source"),
        (either("IBM", or_else=hostile), unusable),
        {k: run[k] for k in ("--config", "--allocator", "--seed")}
        | {"--lookback-days": number, "--state": place, "--minds": mind},
    ),
    "explain": (("",), (decision,), said | {"--symbol": hostile, "--minds": mind}),
    "replay": (
        ("", "--library"),
        (decision, library),
        {"--without": hostile, "--route": hostile, "--state": place, "--completions-file": place}
        | {"--minds": mind, "--run": recorded},
    ),
    "commentary": (("--date",), (day,), said | {"--minds": mind}),
    "chat": (("--ask",), (hostile,), said | {"--minds": mind}),
    "data import": (("", "--name"), (unusable, place), {"--start": day, "--end": day, **seed}),
    "data check": (("",), (unusable,), seed),
    "data list": ((), (), {}),
    "data collect-routes": (
        ("--out", "--source"),
        (place, unusable),
        {"--num": number, "--start": day, "--symbols": hostile, "--config": config, **seed},
    ),
    "data export": (
        ("--out",),
        (place,),
        {"--table": either("cases", "experiences", or_else=hostile), "--library": library}
        | {"--run": recorded, "--format": either("jsonl", "parquet", or_else=hostile)}
        | {"--top": number, "--min-reward": number, "--overwrite": None},
    ),
    "train supervisor": (
        ("--routes", "--out"),
        (unusable, place),
        {"--epochs": number, "--batch": number, "--lr": number, "--config": config, **seed},
    ),
    "train allocator": (
        ("--book", "--source"),
        (st.sampled_from(("equity", "multi-asset", "x")), unusable),
        {"--config": config, "--phase": number, "--timesteps": number, "--out": place, **seed}
        | {"--preset": st.sampled_from(("full", "quick", "slow")), "--resume": None},
    ),
    "evaluate allocator": (
        ("",),
        (place,),
        {"--source": place, "--after": day, "--fresh-markets": number, "--cost": number}
        | {"--windows": number, "--out": place, "--own-costs": None},
    ),
    "bench ablations": (("",), (place,), {"--seeds": number, "--timesteps": number}),
    "bench desk": (("--sessions",), (wrong,), seed),
    "bench port": (("--cases",), (wrong,), {}),
    "bench supervisor": (("--seeds",), (wrong,), {"--decisions": number, "--out": place}),
    "bench library": (("--rows",), (wrong,), {"--decisions": number}),
    "bench minds": (("--prompts",), (wrong,), {"--config": config, **seed}),
    "bench hostile": (("--decisions",), (wrong,), {"--minds": mind, **seed}),
    "bench parity": (("--schedules",), (wrong,), seed),
    "bench envs": (("--seed",), (wrong.filter(lambda word: word != "0"),), {}),
}
NAMES = [name for name in COMMANDS for _ in range(1 if name.startswith("bench") else 4)]
NOT_COUNTED = ("-wal", "-shm", "home/completions.sqlite")
FLAGS = ("--json", "--json", "--help", "--nonsense", "-x", "--=", "--config=", "--config")


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Return a command with hostile values, sometimes spoiled by a word too many or too few."""
    name = draw(st.sampled_from(NAMES))
    options, values, more = COMMANDS[name]
    words: list[str] = []
    for option, value in zip(options, values, strict=True):
        words += [option, draw(value)] if option else [draw(value)]
    for option in (
        draw(st.lists(st.sampled_from(sorted(more)), max_size=3, unique=True)) if more else ()
    ):
        value = more[option]
        words += [option] if value is None else [option, draw(value)]
    for flag in draw(st.lists(st.sampled_from(FLAGS), max_size=1)):
        words.append(flag)
    if draw(st.integers(0, 19)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(hostile))
    return [*name.split(), *words]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a working directory of hostile files, and an environment of its own."""
    here = tmp_path_factory.mktemp("fuzz") / "deep" / "down"
    here.mkdir(parents=True)
    for name, content in FILES.items():
        (here / name).write_bytes(content)
        for path in [here / f"{kind} of {name}" / n for kind in HOLDERS for n in HOLDERS[kind]]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(here / name)
    for module in SLOW_IMPORTS:
        importlib.import_module(module)
    (here / "folder").mkdir()
    (here / "home").mkdir()
    with open_library(here / "library.sqlite") as library:
        writer = library.writer(sample_run())
        for record in RECORDS:
            writer.add(record)
        writer.flush()
        library.finish_run("sample", "completed")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("QUARTERDECK_")]:
            patch.delenv(name)
        patch.setenv("QUARTERDECK_HOME", str(here / "home"))
        patch.setenv("HOME", str(here))
        patch.setenv("COLUMNS", "100")
        patch.chdir(here)
        yield here


def call(words: Sequence[str]) -> tuple[int, str, str]:
    """Run the command line to its end; return its code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["quarterdeck", *words])
        patch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as end:
            ops.cli.main()
    code = end.value.code
    return (
        (code if isinstance(code, int) else int(code is not None)),
        out.getvalue(),
        err.getvalue(),
    )


def everything(folder: Path) -> dict[str, int]:
    """Return the files of a folder with their sizes, without those that come and go."""
    return {
        entry: os.stat(entry).st_size
        for place, _, names in os.walk(folder)
        for name in names
        if not (entry := f"{place}/{name}").endswith(NOT_COUNTED)
    }


def assert_ended_well(words: Sequence[str], code: int, out: str, err: str) -> None:
    """Raise unless a command's end is one that the documentation names."""
    assert code in (0, 1, 2), words
    assert "Traceback" not in out + err
    if code != 0 and words[:2] != ["data", "check"] and "Usage:" not in err and code != 1:
        assert err.count("\n") == 1, err
        assert err.startswith("quarterdeck: "), err
    lines = [line for line in err.splitlines() if line.startswith("quarterdeck: ")]
    for line in lines:
        assert len(line) <= MOST_CHARS, line
        assert line.isprintable(), line
        assert PASSWORD not in line, line


def test_a_hostile_command_line_ends_in_time_with_one_line(workplace):
    @settings(
        max_examples=2_000,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(words=command_lines())
    def run_it(words: list[str]) -> None:
        before = everything(workplace)
        with in_time():
            code, out, err = call(words)
        assert_ended_well(words, code, out, err)
        if code == 2:
            assert everything(workplace) == before

    run_it()
