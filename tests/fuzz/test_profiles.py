"""Profiles, overrides and source pages by strangers: they load finite or are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.inspect import StructType, type_info

from backtest.sources.manifest import Manifest, load_manifest
from config.allocator import TRAININGS, TrainingSettings
from config.errors import MOST_CHARS, ConfigError
from config.settings import PROFILES, Settings, load_settings, load_struct
from tests.fuzz.hostile_text import PASSWORD, in_time, text, yaml_value

pytestmark = pytest.mark.fuzz
LOADED = {"profile": Settings, "training": TrainingSettings, "source": Manifest}
SHIPPED = [
    p.read_text() for folder in (PROFILES, TRAININGS) for p in sorted(folder.glob("*.yaml"))
]


def fields(kind: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all fields of a struct, those of its parts too."""
    found = []
    for field in type_info(kind).fields if not isinstance(kind, StructType) else kind.fields:
        here = (*path, field.name)
        found.append(here)
        for part in getattr(field.type, "types", (field.type,)):
            if isinstance(part, StructType):
                found += fields(part, here)
    return found


PATHS = {what: fields(kind) for what, kind in LOADED.items()}


def page(tree: dict[str, Any]) -> str:
    """Return a tree as one flow mapping, whose leaves are written as they are."""
    inner = (f"{k}: {page(v) if isinstance(v, dict) else v}" for k, v in tree.items())
    return "{" + ", ".join(inner) + "}"


@st.composite
def trees(draw: st.DrawFn, what: str) -> str:
    """Return a page of real fields with hostile values."""
    tree: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(PATHS[what]), min_size=1, max_size=4)):
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                break
        else:
            node[draw(st.one_of(st.just(path[-1]), text)) or "k"] = draw(yaml_value)
    lines = (f"{k}: {page(v) if isinstance(v, dict) else v}" for k, v in tree.items())
    return "\n".join(lines)


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """Return a shipped profile into which something was written, or out of which it was cut."""
    whole = draw(st.sampled_from(SHIPPED))
    at, until = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    return whole[:at] + draw(yaml_value) + whole[draw(st.sampled_from((at, until))) :]


def pages(what: str) -> st.SearchStrategy[bytes]:
    """Return pages: of real fields, spoiled ones, any text, any bytes."""
    written = st.one_of(trees(what), trees(what), spoiled(), yaml_value, st.text(max_size=200))
    return st.one_of(
        written.map(lambda t: t.encode("utf-8", "surrogatepass")), st.binary(max_size=60)
    )


@st.composite
def overrides(draw: st.DrawFn, what: str) -> dict[str, Any]:
    """Return flags by their dotted paths, with values as a command line may give them."""
    value = st.one_of(text, st.integers(), st.floats(), st.booleans(), st.lists(text, max_size=3))
    paths = st.sampled_from([".".join(path) for path in PATHS[what]])
    return draw(st.dictionaries(paths, value, max_size=2))


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    """Return variables that override settings, or name none."""
    names = st.sampled_from(["__".join(path).upper() for path in PATHS["profile"]])
    given = draw(st.dictionaries(st.one_of(names, text.map(str.upper)), yaml_value, max_size=2))
    return {f"QUARTERDECK_{name}": value for name, value in given.items()}


def assert_finite(value: Any) -> None:
    """Raise unless every number in a value is finite and every text can be stored."""
    if isinstance(value, dict):
        for key, part in value.items():
            assert_finite(key)
            assert_finite(part)
    elif isinstance(value, list | tuple):
        for part in value:
            assert_finite(part)
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, str):
        value.encode()


def assert_refusal(error: ConfigError) -> None:
    """Raise unless an error is one printable line, short, and without a password in a URL."""
    line = str(error)
    assert line
    assert line.isprintable(), line[:MOST_CHARS]
    assert len(line) <= MOST_CHARS, f"{len(line)}: {line[:1000]}"
    assert "expected" in line, line
    assert PASSWORD not in line


FUZZED = settings(
    max_examples=1_250,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def check(load: Any) -> None:
    """Load in time; what loads is finite and can be stored, what does not is refused."""
    with in_time():
        try:
            loaded = load()
        except ConfigError as e:
            assert_refusal(e)
            return
        assert_finite(msgspec.to_builtins(loaded))
        msgspec.json.encode(loaded)


@FUZZED
@given(content=pages("profile"), flags=overrides("profile"))
def test_a_hostile_profile_loads_finite_or_is_refused(place, content, flags):
    (place / "p.yaml").write_bytes(content)
    check(lambda: load_settings(place / "p.yaml", flags, {}))


@FUZZED
@given(environ=environments(), flags=overrides("profile"))
def test_hostile_variables_and_flags_load_finite_or_are_refused(environ, flags):
    check(lambda: load_settings("backtest", flags, environ))


@FUZZED
@given(content=pages("training"), flags=overrides("training"))
def test_hostile_settings_of_a_training_load_finite_or_are_refused(place, content, flags):
    (place / "t.yaml").write_bytes(content)
    check(lambda: load_struct(TrainingSettings, place / "t.yaml", TRAININGS, flags))


@FUZZED
@given(content=pages("source"))
def test_a_hostile_source_page_loads_finite_or_is_refused(place, content):
    (place / "source.yaml").write_bytes(content)
    check(lambda: load_manifest(place))
