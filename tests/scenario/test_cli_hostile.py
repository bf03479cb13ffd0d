"""Hostile words through the real command line: one short line, exit 2, no password, no file."""

from collections.abc import Callable
from pathlib import Path

import pytest

PASSWORD = "hunter2"
LIBRARY = f"postgresql://quarterdeck:{PASSWORD}@127.0.0.1:1/none"


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refuses(command, workplace: Path) -> Callable[..., None]:
    """Return a check that a command is refused in one short line, and that nothing changed."""

    def check(*argv: object, words: str = "expected", env: dict[str, str] | None = None) -> None:
        before = everything(workplace)
        ended = command(*argv, cwd=workplace, env=env)
        assert ended.code == 2, ended.err
        assert ended.out == ""
        assert ended.err.startswith("quarterdeck: ")
        line = ended.err.removesuffix("\n")
        assert len(line) <= 300
        assert line.isprintable()
        assert words in line
        assert PASSWORD not in line
        assert everything(workplace) == before

    return check


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: !!float x", "bad.yaml"),
        ("seed: " + "9" * 5_000, "bad.yaml"),
        ("seed: " + "[" * 100_000, "32 levels"),
        ("seed: 1\nseed: 2", "'seed' given twice"),
        ("data: {source: " + "x" * 400_000 + "}", "expected a source"),
        (f"minds: {{vllm: {{base_url: 'http://me:{PASSWORD}@h/v1'}}}}", "VLLM_API_KEY"),
        (f"minds: {{vllm: {{base_url: ['http://me:{PASSWORD}@h']}}}}", "minds.vllm.base_url"),
    ],
)
def test_a_hostile_profile_is_refused(workplace, refuses, text, words):
    (workplace / "bad.yaml").write_text(text)
    refuses("backtest", "--config", "bad.yaml", words=words)


def test_a_key_in_a_servers_address_is_refused_wherever_it_is_set(refuses):
    url = f"http://127.0.0.1:1/v1?api_key={PASSWORD}"
    env = {"QUARTERDECK_MINDS__VLLM__BASE_URL": url}
    refuses("backtest", "--minds", "vllm", env=env, words="QUARTERDECK_MINDS__VLLM__BASE_URL")


@pytest.mark.parametrize(
    "where",
    [
        *(f"{LIBRARY}?password={PASSWORD}&nonsense=1", f"mysql://u:{PASSWORD}@h/x"),
        *(f"postgresql://u:a@{PASSWORD}@h/x", f"postgresql://u:{PASSWORD}@h:port/x"),
        *("sqlite:///x?mode=memory", "source", "x" * 300, "source/IBM.csv"),
    ],
)
def test_a_library_that_cannot_be_used_is_refused_before_the_run(refuses, where):
    refuses("backtest", "--config", "small.yaml", "--source", "source", "--library", where)


@pytest.mark.parametrize(
    ("option", "command_line"),
    [
        ("--cost", "evaluate allocator folder --cost nan"),
        ("--lr", "train supervisor --routes r --out o --lr inf"),
        ("--min-reward", "data export --out x.jsonl --min-reward nan"),
        ("--seed", "data check packaged --seed 9223372036854775808"),
    ],
)
def test_a_number_that_is_not_finite_or_too_large_is_refused(refuses, option, command_line):
    refuses(*command_line.split(), words=option)


def test_a_file_of_one_huge_cell_is_no_training_no_policy_and_no_profile(workplace, refuses):
    for name in ("t/training.json", "p/top/policy.json", "huge.yaml"):
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        (workplace / name).write_text('{"settings": "' + "x" * 2_000_000 + '"}')
    refuses("evaluate", "allocator", "t", "--out", "o", words="training")
    refuses("backtest", "--config", "huge.yaml", words="huge.yaml")
    refuses("backtest", "--source", "source", "--allocator", "p", words="policy.json")
