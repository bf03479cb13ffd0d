"""Reads JSON files that a human names: what is none, or other than it should be, is one line."""

from pathlib import Path

import msgspec

from config.errors import ConfigError, cut, one_line, shown


def read_json[T](path: Path, kind: type[T], what: str) -> T:
    """
    Return a file's value of one kind; `what` says what the file should hold.

    Raises ConfigError where it cannot be read, is not JSON, or is of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"expected {what} in {shown(str(path))}, was: {e.strerror}") from e
    return decode_json(content, kind, f"{what} in {shown(str(path))}")


def decode_json[T](content: bytes, kind: type[T], what: str) -> T:
    """Return the value of one kind that some bytes hold; raise ConfigError as `read_json`."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ConfigError(f"expected {what}, was: {cut(one_line(e), 120)}") from e
