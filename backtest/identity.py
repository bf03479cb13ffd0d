"""
The identity of a run: everything that can change its results, hashed to the run's id.

Two runs of one id are the same run. The identity holds the versions of the libraries that this
run computes with, read from their metadata without importing them, and for language models the
digest of the completions that may be replayed. A run that may ask its models anything new carries
a nonce: their answers cannot be known at its start, so no two such runs are the same. It knows
neither stores nor clocks; whoever starts a run draws the nonce.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from agents.messages import JUNIORS
from config.settings import RoleName, Settings

if TYPE_CHECKING:
    from agents.protocols import LearningMind

PACKAGES = ("strategies", "agents", "learning", "backtest", "live", "config", "ops")
LIBRARIES = ("nautilus_trader", "numpy", "pandas", "scipy", "exchange_calendars")
POLICY_LIBRARIES = ("torch",)
ENGINE_LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "llguidance")
DECIDING: tuple[RoleName, ...] = (*JUNIORS, "strategist")  # the explainer changes no result
IDENTITY = (
    "mode",
    "data_digest",
    "decide_from",
    "config_digest",
    "minds",
    "completions",
    "start_state_digest",
    "code",
    "libraries",
    "seed",
)

type RunMode = Literal["backtest", "paper"]


class Completions(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where a run's completions may come from, fixed before its first question.

    `replayable_digest` covers the kept answers that it may be given, "" where there are none to
    be given (`live`, `record`). `nonce` is "" where nothing is ever asked (`replay`).
    """

    mode: Literal["live", "record", "replay", "replay-or-live"]
    replayable_digest: str = ""
    nonce: str = ""


def run_identity(
    *,
    mode: RunMode,
    data_digest: str,
    decide_from: int,
    settings: Settings,
    mind: LearningMind,
    completions: Completions | None,
) -> dict[str, Any]:
    """
    Return everything that can change a run's results, as JSON-able values under `IDENTITY`.

    `completions` is None where no language model decides. Where data, policies, juniors, servers
    and kept answers lie is no part of it: they count by their content.
    """
    return {
        "mode": mode,
        "data_digest": data_digest,
        "decide_from": decide_from,
        "config_digest": _placeless(settings).digest,
        "minds": {"kind": mind.name, **mind.models},
        "completions": None if completions is None else msgspec.to_builtins(completions),
        "start_state_digest": mind.digest,
        "code": code_version(),
        "libraries": library_versions(settings, trained=bool(mind.policies)),
        "seed": settings.seed,
    }


def run_id_of(identity: Mapping[str, Any]) -> str:
    """Return the id of a run: 24 hexadecimal digits of the SHA-256 of its identity."""
    body = msgspec.json.encode(identity, order="deterministic")
    return hashlib.sha256(body).hexdigest()[:24]


def identity_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a manifest that makes the run's id."""
    return {name: manifest[name] for name in IDENTITY if name in manifest}


@cache
def code_version() -> str:
    """Return the hash of Quarterdeck's own source files and prompts."""
    root = Path(__file__).resolve().parents[1]
    h = hashlib.sha256()
    for package in PACKAGES:
        paths = [p for kind in ("*.py", "*.md") for p in (root / package).rglob(kind)]
        for path in sorted(paths):
            h.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return h.hexdigest()[:24]


def library_versions(settings: Settings, *, trained: bool) -> dict[str, str]:
    """
    Return the versions of Python and of the libraries that a run of these settings computes with.

    `trained` says that policies place capital: they are networks. An embedded model's libraries
    count where it may be asked; a replayed answer names the versions that it was made with.
    """
    minds = settings.minds
    embedded = "embedded" in {minds.of(role) for role in DECIDING}
    names = [
        "python",
        *LIBRARIES,
        *(POLICY_LIBRARIES if trained else ()),
        *(ENGINE_LIBRARIES if embedded and minds.completions != "replay" else ()),
    ]
    return {name: installed(name) for name in names}


def installed(name: str) -> str:
    """Return a library's version without importing it, Python's as "3.12"; "none" for none."""
    if name == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _placeless(settings: Settings) -> Settings:
    """Return settings without where data, policies, juniors, servers and answers lie."""
    minds = settings.minds
    return msgspec.structs.replace(
        settings,
        data=msgspec.structs.replace(settings.data, source=""),
        allocator=msgspec.structs.replace(settings.allocator, policies=""),
        minds=msgspec.structs.replace(
            minds,
            juniors=(),
            completions="replay-or-live",
            vllm=msgspec.structs.replace(minds.vllm, base_url=""),
            embedded=msgspec.structs.replace(minds.embedded, path="", adapters={}),
        ),
    )
