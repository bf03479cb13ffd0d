"""
Reads YAML that a human or a stranger wrote: profiles, environment overrides, `source.yaml`.

Only plain values are known: mappings, lists, text, numbers, true and false, null. A date stays
the text that was written, and no tag makes an object. What is larger, deeper or stranger than
settings can be, or given twice, is refused in one line. Aliases count as what they stand for, so
that a short text cannot unfold into a huge one.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from config.errors import ConfigError, cut, one_line, shown

MOST_BYTES = 1 << 19
MOST_VALUES = 20_000  # with what aliases stand for: a source of 5,000 instruments fits
MOST_LEVELS = 32
MOST_DIGITS = 64  # characters of a number
MOST_INTEGER = 2**64

_TAG = "tag:yaml.org,2002:"
_MERGE, _NUMBERS = f"{_TAG}merge", (f"{_TAG}int", f"{_TAG}float")
_PLAIN = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Refused(yaml.YAMLError):
    """A text that is YAML, but not one that settings are written in."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 of plain values, without timestamps and within the bounds of this file."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0
        self._level = 0
        self._sizes: dict[int, int] = {}  # values in a finished node, by its identity

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node, counted with all that is below it."""
        is_alias, before = self.check_event(yaml.AliasEvent), self._values
        self._level += 1
        if self._level > MOST_LEVELS:
            raise _Refused(f"more than {MOST_LEVELS} levels deep")
        node: Any = super().compose_node(parent, index)
        self._level -= 1
        if is_alias and id(node) not in self._sizes:
            raise _Refused("a value that holds itself")
        self._values += self._sizes[id(node)] if is_alias else 1
        if self._values > MOST_VALUES:
            raise _Refused(f"more than {MOST_VALUES} values")
        self._sizes.setdefault(id(node), self._values - before)
        digits = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if digits > MOST_DIGITS and node.tag in _NUMBERS:
            raise _Refused(f"a number of {digits} characters")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Return a mapping whose keys are plain and each there once."""
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(f"a key that is no plain value in line {key.start_mark.line + 1}")
            if key.value in keys and key.tag != _MERGE:
                at = key.start_mark.line + 1
                raise _Refused(f"the key {shown(key.value)} given twice, again in line {at}")
            keys.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    key: [(tag, regexp) for tag, regexp in resolvers if tag != f"{_TAG}timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(  # YAML 1.1 takes 1e-4 for a text, for want of a point
    f"{_TAG}float", re.compile(r"[-+]?\d+[eE][-+]?\d+"), list("-+0123456789")
)
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag in _PLAIN
}


def read_yaml(path: Path, error: type[ConfigError] = ConfigError) -> Any:
    """Return the value in a file, None for an empty one. Raises `error`, naming the file."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as e:
        raise error(f"expected YAML in {path.name}, was unreadable: {e.strerror}") from e
    try:
        text = content.decode("utf-8") if len(content) <= MOST_BYTES else " " * len(content)
    except UnicodeDecodeError as e:
        raise error(f"expected YAML in {path.name}, was unreadable: not UTF-8") from e
    return load_yaml(text, path.name, error)


def load_yaml(text: str, label: str, error: type[ConfigError] = ConfigError) -> Any:
    """
    Return the value in a text, None for an empty one; `label` says whose it is.

    Raises `error`, in one line, on what is not YAML, or has a tag, a number that is not finite
    or beyond 64 bits, a key twice, or more than this file allows.
    """
    if len(text) > MOST_BYTES:
        raise error(f"expected at most {MOST_BYTES >> 10} KiB of YAML in {label}, was more")
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as e:
        raise error(f"expected YAML in {label}, was unreadable: {_why(e)}") from e
    check_plain(value, "", label, error)
    return value


def _why(error: Exception) -> str:
    """Return what PyYAML, or a constructor of its own, found, with the line where it tells."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return cut(f"line {error.problem_mark.line + 1}: {error.problem}", 160)
    if isinstance(error, yaml.YAMLError):
        return cut(one_line(error), 160)
    return f"a value that its tag does not fit ({type(error).__name__})"


def check_plain(value: Any, path: str, label: str, error: type[ConfigError] = ConfigError) -> None:
    """Raise `error` at the first value at or below a path that could not be stored."""
    where = f"{label}: {cut(path, 100) or 'value'}"
    if isinstance(value, dict):
        for key, part in value.items():
            check_plain(key, path, label, error)
            check_plain(part, f"{path}.{key}".removeprefix("."), label, error)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            check_plain(part, f"{path}[{i}]", label, error)
    elif isinstance(value, float) and not math.isfinite(value):
        raise error(f"{where}: expected a finite number, was {value}")
    elif isinstance(value, int) and abs(value) >= MOST_INTEGER:
        raise error(f"{where}: expected an integer of at most 64 bits, was {shown(value)}")
    elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise error(f"{where}: expected text, was {shown(value)}")


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
