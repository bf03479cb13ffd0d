"""Every configuration example of README, docs and docstrings goes through its real loader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import yaml

from backtest.sources.manifest import FILE_NAME, Manifest, load_manifest
from config.allocator import TRAININGS, TrainingSettings
from config.errors import ConfigError, DataError
from config.settings import ENV_PREFIX, NO_SETTINGS, Settings, load_settings, load_struct

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PACKAGES = ("agents", "backtest", "config", "learning", "live", "ops", "strategies")
SOURCES = tuple(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))
READERS = (*SOURCES, *sorted((ROOT / "tests" / "vllm").glob("*.py")))

YAML = re.compile(r"^```ya?ml\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
VARIABLE = re.compile(rf"({ENV_PREFIX}\w+)(?:=([^\s`)\",]+))?")


@dataclass(frozen=True)
class Example:
    """A piece of a page that a user would copy: a block of YAML, or a variable and its value."""

    page: str
    text: str
    value: str | None = None


def found(pattern: re.Pattern[str], pages: tuple[Path, ...]) -> tuple[Example, ...]:
    """Return what matches on the pages, each once."""
    all_found = (
        Example(str(page.relative_to(ROOT)), *match.groups())
        for page in pages
        for match in pattern.finditer(page.read_text(encoding="utf-8"))
    )
    return tuple(dict.fromkeys(all_found))


BLOCKS = found(YAML, PAGES)
VARIABLES = found(VARIABLE, (*PAGES, *SOURCES))


def load_source(path: Path) -> Manifest:
    """Load a source.yaml beside the files that it names."""
    for name in yaml.safe_load(path.read_text()).get("files", {}):
        (path.parent / name).touch()
    return load_manifest(path.parent)


LOADERS = {
    Settings: lambda path: load_settings(path, environ={}),
    TrainingSettings: lambda path: load_struct(TrainingSettings, path, TRAININGS),
    Manifest: load_source,
}


def load(text: str, folder: Path) -> list[object]:
    """Return what a block of YAML is loaded as, by each loader that knows all its first keys."""
    path = folder / FILE_NAME
    path.write_text(text)
    keys = set(yaml.safe_load(text))
    return [load(path) for kind, load in LOADERS.items() if keys <= set(kind.__struct_fields__)]


def default(name: str) -> str:
    """Return the default of the setting that a variable names, as the environment gives it."""
    value = msgspec.to_builtins(Settings())
    for key in name.removeprefix(ENV_PREFIX).lower().split("__"):
        assert key in value, f"expected {name} to name a setting, was no such field"
        value = value[key]
    return msgspec.json.encode(value).decode()


def test_the_pages_have_examples():
    assert {"docs/data.md", "docs/minds.md"} <= {example.page for example in BLOCKS}
    assert {"README.md", "config/settings.py"} <= {example.page for example in VARIABLES}


@pytest.mark.parametrize("example", BLOCKS, ids=lambda e: f"{e.page}: {e.text.split(':')[0]}")
def test_a_documented_block_of_yaml_is_loaded(example, tmp_path):
    assert load(example.text, tmp_path)


@pytest.mark.parametrize("example", VARIABLES, ids=lambda e: f"{e.page}: {e.text}")
def test_a_documented_variable_sets_what_it_names(example):
    name = example.text
    if name.startswith(NO_SETTINGS):  # where files are, which server tests ask
        assert any(name in path.read_text(encoding="utf-8") for path in READERS)
        return
    value = default(name) if example.value is None else example.value
    settings = load_settings(environ={name: value})
    assert name.removeprefix(ENV_PREFIX).lower().replace("__", ".") in settings.stated


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("minds: {kind: oracle}\n", ConfigError),
        ("limits: {max_positon: 0.1}\n", ConfigError),
        ("files: {ACME.csv: {kind: tips}}\n", DataError),
    ],
)
def test_a_wrong_block_would_be_seen(text, refused, tmp_path):
    with pytest.raises(refused):
        load(text, tmp_path)


def test_a_block_that_nothing_loads_would_be_seen(tmp_path):
    assert load("risk: {max_position: 0.1}\n", tmp_path) == []


def test_a_variable_that_names_no_setting_would_be_seen():
    with pytest.raises(AssertionError, match="expected QUARTERDECK_RISK__MAX_POSITION to name"):
        default("QUARTERDECK_RISK__MAX_POSITION")
