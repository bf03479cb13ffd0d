"""Format, lint, types and import contracts, so that one command runs everything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = {
    "the code is formatted": ("ruff", "format", "--check", "."),
    "the code passes the linter": ("ruff", "check", "."),
    "the types are strict and right": ("mypy",),
    "imports point down only": ("lint-imports",),
}


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS)
def test_quality(command):
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
