"""Where Quarterdeck keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path

from config.errors import ConfigError


def data_home() -> Path:
    """
    Return the data directory, made where it is missing: QUARTERDECK_HOME, or ~/.quarterdeck.

    Raises ConfigError where it cannot be made.
    """
    home = Path(os.environ.get("QUARTERDECK_HOME") or Path.home() / ".quarterdeck")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"expected to make the data directory {home}, was: {e.strerror}") from e
    return home
