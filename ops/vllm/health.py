"""
Say on one line whether a vLLM server is fit to be asked; exit code 0 if it is, else 1.

    python health.py [--url http://127.0.0.1:8000] [--wait SECONDS]

Fit means: /health answers, /version names the engine, and /v1/models names weights by their hash.
Standard library only. It asks for no completion and judges no answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

TIMEOUT_SECONDS = 5.0


def examine(url: str) -> tuple[bool, str]:
    """Return whether the server is fit, and one line that says so or why not."""
    try:
        _get(f"{url}/health")
        version = json.loads(_get(f"{url}/version"))["version"]
        models: list[dict[str, Any]] = json.loads(_get(f"{url}/v1/models"))["data"]
        names = [str(model["id"]) for model in models]
    except urllib.error.HTTPError as e:
        return False, f"unfit: expected status 200 of {e.url}, was {e.code}"
    except (OSError, ValueError) as e:  # URLError is an OSError; a bad address a ValueError
        return False, f"unfit: expected a vLLM server at {url}, was: {_one_line(e)}"
    except (KeyError, TypeError):
        return False, f"unfit: expected a vLLM server at {url}, was another server"
    hashed = [name for name in names if "@" in name]
    if not hashed:
        return False, f"unfit: expected a model named NAME@SHA, was {', '.join(names) or 'none'}"
    return True, f"fit: vLLM {version} serves {', '.join(hashed)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Examine once, or until the server is fit or the wait is over."""
    parser = argparse.ArgumentParser(description="Say whether a vLLM server is fit.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="without /v1")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args(argv)
    until = time.monotonic() + options.wait
    while True:
        fit, line = examine(options.url.rstrip("/").removesuffix("/v1"))
        if fit or time.monotonic() >= until:
            print(line)
            return 0 if fit else 1
        time.sleep(1.0)


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        body: bytes = response.read()
    return body.decode()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
