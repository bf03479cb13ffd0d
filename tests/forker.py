"""
Forks jobs that begin at one moment, and kills some of them: for tests of who writes what at once.

The parent of all jobs is a small process that has one thread and has imported the jobs' module
once. Run alone it serves jobs, one list a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from config.errors import ConfigError

ROOT = Path(__file__).parents[1]
REFUSED, BROKEN = 2, 1


class Forker:
    """Runs functions of a module in processes of their own, which it forks; a context manager."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from tests.forker import serve; serve({module!r})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> Forker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(timeout=60) == 0

    def __call__(
        self, *jobs: tuple, kill_after: float | None = None, kill_when: Path | None = None
    ) -> list[int]:
        """
        Run jobs (a function's name and its arguments) at one moment; return their exit codes.

        The first is killed `kill_after` seconds after it began, or when the file `kill_when` is
        there. 0: it ended well, 2: a ConfigError, 1: another one,
        -9: it was killed.
        """
        told = [[name, *map(str, words)] for name, *words in jobs]
        line = json.dumps([told, kill_after, None if kill_when is None else str(kill_when)])
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve(module: str) -> None:
    """Fork the jobs of each line that comes in, and answer with their exit codes."""
    functions = vars(importlib.import_module(module))
    for line in sys.stdin:
        jobs, kill_after, kill_when = json.loads(line)
        gate, opener = os.pipe()
        children = []
        for name, *words in jobs:
            child = os.fork()
            if child == 0:
                os.close(opener)
                os.read(gate, 1)  # ends when the parent opens it
                os._exit(_ended(functions[name], words))
            children.append(child)
        os.close(gate)
        os.close(opener)
        while kill_when is not None and not os.path.exists(kill_when):
            time.sleep(0.001)
        if kill_after is not None:
            time.sleep(kill_after)
        if kill_after is not None or kill_when is not None:
            os.kill(children[0], signal.SIGKILL)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def _ended(function, words: list[str]) -> int:
    try:
        function(*words)
    except ConfigError as e:
        print(e, file=sys.stderr)
        return REFUSED
    except BaseException:
        traceback.print_exc()
        return BROKEN
    return 0
