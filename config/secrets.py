"""
Secrets: from the environment or a `.env` file only, masked wherever they are shown.

A secret is asked for by name where it is needed; it is never part of Settings, so it never
reaches a hash, a manifest or a report.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from config.errors import ConfigError


class Secret:
    """A string that shows itself as stars; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('********')"

    __str__ = __repr__


def read_secret(
    name: str, *, environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env")
) -> Secret | None:
    """
    Return the secret called `name`, the environment's before the `.env` file's, or None.

    Raises ConfigError, which names it and does not show it, where it could not be sent: a secret
    is printable ASCII. So it does where the `.env` file is no text.
    """
    text = (os.environ if environ is None else environ).get(name)
    if text is None:
        text = _read_dotenv(dotenv).get(name)
    if text and not (text.isascii() and text.isprintable()):
        raise ConfigError(f"expected {name} in printable ASCII, was other text")
    return Secret(text) if text else None


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"expected secrets as text in {path}, was unreadable") from e
    values = {}
    for line in lines:
        name, separator, text = line.strip().removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            values[name.strip()] = text.strip().strip("'\"")
    return values
