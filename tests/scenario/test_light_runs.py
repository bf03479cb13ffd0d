"""A run with rule-backed minds needs no machine learning library, and none is imported for it."""

import subprocess
import sys

SCRIPT = """
import sys
from ops.cli import main

try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = ("torch", "skfolio", "sklearn", "transformers", "stable_baselines3", "matplotlib")
print("imported:", *(name for name in heavy if name in sys.modules))
"""


def test_a_rules_run_imports_no_machine_learning_library(workplace, child_environ):
    where = ("--config", "small.yaml", "--source", "source", "--out", "kept/run")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "backtest", *where, "--library", "kept/l.sqlite", "--json"],
        cwd=workplace,
        env=child_environ | {"QUARTERDECK_HOME": str(workplace / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (workplace / "kept" / "run" / "state" / "supervisor.npz").is_file()
    assert done.stdout.splitlines()[-1] == "imported:"
