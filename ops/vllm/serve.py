"""
Serve a model folder with vLLM under names that say which weights they are.

    python serve.py --model FOLDER [--adapter ROLE=FOLDER]... [--cpu] [--dry-run]

The model answers as NAME and as NAME@SHA, SHA being the first twelve digits of its weights'
SHA-256 (as `agents/llm/embedded/weights.py` computes it); each adapter answers as ROLE and as
ROLE@SHA. A client that asks by the second name cannot be answered by other weights. It checks what
it is given, then becomes the server. Standard library only: it runs in vLLM's environment, which
holds nothing of ours, and knows neither prompts nor schemas.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROLES = ("news", "technical", "fundamental", "strategist", "explainer")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
RUNTIME_SLOTS = 4  # adapters that may be loaded beside those given
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # without either, bfloat16 is emulated

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
STRUCTURED = {"backend": "guidance", "disable_any_whitespace": True}


class Refused(Exception):
    """What was given cannot be served: "expected ..., was ..."."""


@dataclass(frozen=True)
class Plan:
    """A command, and what its environment holds beside this process's own."""

    command: tuple[str, ...]
    environment: dict[str, str]


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a model's safetensors. Raises Refused where it is no model."""
    if not (folder / "config.json").is_file():
        raise Refused(f"expected --model to be a folder with config.json, was {str(folder)!r}")
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise Refused(f"expected *.safetensors in {str(folder)!r}, was none")
    return _sha256(shards)


def adapter_digest(folder: Path) -> str:
    """Return the SHA-256 of a PEFT adapter. Raises Refused where it is none."""
    parts = [folder / "adapter_config.json", folder / "adapter_model.safetensors"]
    for part in parts:
        if not part.is_file():
            raise Refused(f"expected {part.name} in the adapter {str(folder)!r}, was none")
    return _sha256(parts)


def plan(options: argparse.Namespace, cpuinfo: str) -> Plan:
    """Return how to serve what the options name. Raises Refused."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.name):
        raise Refused(f"expected --name of letters, digits, '.', '_', '-', was {options.name!r}")
    if not 1 <= options.port <= 65535:
        raise Refused(f"expected --port from 1 to 65535, was {options.port}")
    if options.runtime_adapters and options.host not in LOOPBACK:
        raise Refused(f"expected a loopback --host with --runtime-adapters, was {options.host!r}")
    adapters = _adapters(options.adapter)
    environment = dict(ENVIRONMENT)
    command = [options.python, "-P", "-m", "vllm.entrypoints.cli.main", "serve"]
    command += [str(options.model.resolve()), "--host", options.host, "--port", str(options.port)]
    digest = weights_digest(options.model)
    command += ["--served-model-name", options.name, f"{options.name}@{digest[:12]}"]
    command += ["--dtype", options.dtype or _dtype(options.cpu, cpuinfo), "--seed", "0"]
    command += ["--generation-config", "vllm"]  # the request decides, never the model's folder
    command += ["--structured-outputs-config", json.dumps(STRUCTURED, separators=(",", ":"))]
    command += ["--enable-prefix-caching", "--uvicorn-log-level", "warning"]
    if adapters or options.runtime_adapters:
        slots = 2 * len(adapters) + (RUNTIME_SLOTS if options.runtime_adapters else 0)
        command += ["--enable-lora", "--max-loras", str(slots)]
        command += ["--max-lora-rank", str(_rank(list(adapters.values())))]
    if adapters:
        command.append("--lora-modules")
        for role, folder in adapters.items():
            path = folder.resolve()
            command += [f"{role}={path}", f"{role}@{adapter_digest(folder)[:12]}={path}"]
    if options.runtime_adapters:
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
    if options.cpu:
        command.append("--enforce-eager")  # compiling costs minutes on few cores
        environment["VLLM_CPU_KVCACHE_SPACE"] = "2"  # GiB
        cores = sorted(os.sched_getaffinity(0))
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    return Plan(tuple(command), environment)


def main(argv: Sequence[str] | None = None) -> int:
    """Become the server, or say on one line why not (exit code 2)."""
    options = _parser().parse_args(argv)
    try:
        cpuinfo = Path("/proc/cpuinfo")
        made = plan(options, cpuinfo.read_text() if cpuinfo.is_file() else "")
    except Refused as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    if options.dry_run:
        set_ = [f"{name}={value}" for name, value in sorted(made.environment.items())]
        print(shlex.join(["env", *set_, *made.command]))
        return 0
    try:
        os.execvpe(made.command[0], made.command, made.environment | os.environ)
    except OSError as e:
        print(f"error: expected a Python with vLLM, was {options.python!r}: {e}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve a model folder with vLLM.")
    parser.add_argument("--model", type=Path, required=True, help="safetensors and tokenizer")
    parser.add_argument("--name", default="smollm2-135m-instruct", help="what clients ask for")
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="ROLE=FOLDER", help="a PEFT adapter"
    )
    parser.add_argument(
        "--runtime-adapters",
        action="store_true",
        help="let local clients load and unload adapters",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--cpu", action="store_true", help="for the environment of cpu/")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="default: the faster one of this machine"
    )
    parser.add_argument("--python", default=sys.executable, help="the one that has vLLM")
    parser.add_argument("--dry-run", action="store_true", help="print the command and stop")
    return parser


def _adapters(given: Sequence[str]) -> dict[str, Path]:
    adapters: dict[str, Path] = {}
    for text in given:
        role, _, folder = text.partition("=")
        if role not in ROLES or not folder:
            raise Refused(f"expected --adapter ROLE=FOLDER of {', '.join(ROLES)}, was {text!r}")
        if role in adapters:
            raise Refused(f"expected one --adapter for {role}, was two")
        adapters[role] = Path(folder)
    return adapters


def _rank(adapters: Sequence[Path]) -> int:
    """Return the smallest allowed rank that holds every adapter's; 16 for those to come."""
    highest = 16
    for folder in adapters:
        path = folder / "adapter_config.json"
        try:
            rank = json.loads(path.read_text(encoding="utf-8"))["r"]
        except (OSError, ValueError, KeyError, TypeError):
            raise Refused(f"expected a rank r in {str(path)!r}, was none") from None
        if not isinstance(rank, int) or not 1 <= rank <= RANKS[-1]:
            raise Refused(f"expected a rank from 1 to {RANKS[-1]} in {str(path)!r}, was {rank!r}")
        highest = max(highest, rank)
    return next(allowed for allowed in RANKS if allowed >= highest)


def _dtype(cpu: bool, cpuinfo: str) -> str:
    return "float32" if cpu and not BFLOAT16_FLAGS & set(cpuinfo.split()) else "bfloat16"


def _sha256(paths: Sequence[Path]) -> str:
    """Return one file's SHA-256, or that of several files' digests end to end."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            one = hashlib.file_digest(file, "sha256")
        if len(paths) == 1:
            return one.hexdigest()
        total.update(one.digest())
    return total.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
