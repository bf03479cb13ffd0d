"""Where Quarterdeck keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path


def data_home() -> Path:
    """Return the data directory: QUARTERDECK_HOME, or ~/.quarterdeck."""
    return Path(os.environ.get("QUARTERDECK_HOME") or Path.home() / ".quarterdeck")
