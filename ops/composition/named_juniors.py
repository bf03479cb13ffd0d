"""
The juniors that the settings name: classes found by a file's path, a module or an entry point.

Each takes the place that its `name` says. The three that ship are named in the settings' defaults
and found in the same way. A junior from elsewhere is a part of a run's identity by the hash of its
file; what else that file imports is not. Whatever is wrong with a name is a ConfigError.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from agents.messages import JUNIORS, JuniorName
from agents.protocols import Junior
from config.errors import ConfigError
from config.files.paths import own_path
from config.settings import SHIPPED_JUNIORS

GROUP = "quarterdeck.juniors"  # of entry points
OURS = "agents."  # modules that the hash of Quarterdeck's code covers
FROM_FILE = "quarterdeck_junior_"  # then the path's hash, "_" and the digest of the bytes


@dataclass(frozen=True)
class NamedJuniors:
    """The junior of each place; `described` says what else identifies those from elsewhere."""

    juniors: dict[JuniorName, Junior]
    described: dict[JuniorName, str]


def load_juniors(names: Sequence[str]) -> NamedJuniors:
    """
    Return the named juniors, and those that ship in the places that are left.

    Raises ConfigError where a name leads to no junior, or two take one place.
    """
    named = [(name, _junior(name)) for name in names]
    taken: dict[JuniorName, str] = {}
    for name, junior in named:
        if junior.name in taken:
            raise ConfigError(
                f"minds.juniors: expected one junior for {junior.name}, "
                f"was {taken[junior.name]} and {name}"
            )
        taken[junior.name] = name
    named += [
        (name, junior) for name in SHIPPED_JUNIORS if (junior := _junior(name)).name not in taken
    ]
    found = {junior.name: junior for _, junior in named}
    return NamedJuniors(
        juniors={place: found[place] for place in JUNIORS},
        described={
            place: f"{junior.model} {type(junior).__name__}@{_digest(type(junior))}"
            for place, junior in found.items()
            if not type(junior).__module__.startswith(OURS)
        },
    )


def _junior(name: str) -> Junior:
    """Return the junior that a name leads to."""
    found = _find(name)
    if not (isinstance(found, type) and Junior in found.__mro__):
        raise _wrong(name, "a class derived from agents.protocols.Junior", _what(found))
    kind: Any = found
    if kind.opine is Junior.opine:
        raise _wrong(name, "a class that defines opine", "one that does not")
    try:
        junior: Junior = kind()
    except (Exception, SystemExit) as e:
        raise _wrong(name, "a class that is made without arguments", _one_line(e)) from e
    if getattr(junior, "name", None) not in JUNIORS:
        at = f"`name` to be one of {', '.join(JUNIORS)}"
        raise _wrong(name, at, repr(getattr(junior, "name", "missing")))
    if not isinstance(getattr(junior, "model", None), str):
        raise _wrong(name, "`model` to be text", repr(getattr(junior, "model", "missing")))
    return junior


def _find(name: str) -> Any:
    """Return what an entry point, or a file or module with a class, leads to."""
    where, colon, class_name = name.rpartition(":")
    if not colon:
        known = {point.name: point for point in entry_points(group=GROUP)}
        if name not in known:
            form = "path/to/file.py:Class, package.module:Class or an entry point"
            raise _wrong(
                name, f"{form} ({', '.join(sorted(known)) or 'none is installed'})", "none"
            )
        where, class_name = known[name].module, known[name].attr
    try:
        module = (
            _from_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        )
    except ConfigError:
        raise
    except (Exception, SystemExit) as e:
        raise _wrong(name, f"{where} to be imported", _one_line(e)) from e
    if not hasattr(module, class_name):
        raise _wrong(name, f"a class {class_name} in {where}", "none")
    return getattr(module, class_name)


def _from_file(path: Path) -> ModuleType:
    """Return the module that a file makes, executed once in a process while it stays as it is."""
    file = own_path(str(path)).resolve()
    if not file.is_file():
        raise ConfigError(f"minds.juniors: expected a Python file at {path}, was none")
    code = file.read_bytes()
    place = hashlib.sha256(str(file).encode()).hexdigest()[:12]
    name = f"{FROM_FILE}{place}_{_first_digits(code)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # a path that ends with .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where annotations of its classes are looked up
    try:
        exec(compile(code, file, "exec"), module.__dict__)  # no bytecode kept of another edit
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _digest(kind: type) -> str:
    """Return the digest of the file that a class is written in, as it was when it was executed."""
    if kind.__module__.startswith(FROM_FILE):
        return kind.__module__.rpartition("_")[2]
    return _first_digits(Path(inspect.getfile(kind)).read_bytes())


def _first_digits(code: bytes) -> str:
    """Return the first digits of the SHA-256 of a file's bytes."""
    return hashlib.sha256(code).hexdigest()[:16]


def _wrong(name: str, expected: str, was: str) -> ConfigError:
    return ConfigError(f"minds.juniors: {name}: expected {expected}, was {was}")


def _what(found: Any) -> str:
    return f"class {found.__name__}" if isinstance(found, type) else type(found).__name__


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
