"""
Secrets: from the environment or a `.env` file only, masked wherever they are shown.

A secret is asked for by name where it is needed; it is never part of Settings, so it never
reaches a hash, a manifest or a report.
"""

import os
from collections.abc import Mapping
from pathlib import Path


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
    """Return the secret called `name`, the environment's before the `.env` file's, or None."""
    text = (os.environ if environ is None else environ).get(name)
    if text is None:
        text = _read_dotenv(dotenv).get(name)
    return Secret(text) if text else None


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    values = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, text = line.strip().removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            values[name.strip()] = text.strip().strip("'\"")
    return values
