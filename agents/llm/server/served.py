"""
Reads which models a server lists, and finds the one that answers for a role.

A served name may carry the hash of its weights, `name@<12 or more hex digits>`; our own start
script names models so. Where a name carries none, the weights are "unnamed": a cache cannot then
tell one such model from another. It knows no connection.
"""

import re
from collections.abc import Sequence

import msgspec

from agents.llm.chat import ModelIdentity, Role
from config.errors import ConfigError, shown
from config.settings import ServerSettings

HASHED = re.compile(r"(?P<name>.+)@(?P<digest>[0-9a-f]{12,64})")
UNNAMED = "unnamed"
MOST_NAMES, LONGEST_NAME = 3, 80  # that a message lists


class Served(msgspec.Struct, frozen=True):
    """The model names that a server lists, and its version."""

    names: tuple[str, ...]
    version: str

    def find(self, name: str) -> str:
        """
        Return the served name that a configured one means: the one with a hash where there is one.

        Raises ConfigError where none is served, or several hashes under one name.
        """
        hashed = [n for n in self.names if (m := HASHED.fullmatch(n)) and m["name"] == name]
        if len(hashed) > 1:
            raise ConfigError(f"expected one model {name!r}, was {_listed(hashed)}")
        found = hashed or [n for n in self.names if n == name]
        if not found:
            raise ConfigError(f"expected model {name!r}, was a server of {self.listed}")
        return found[0]

    @property
    def listed(self) -> str:
        """The names for a message: the first few, each cut to a readable length."""
        return _listed(self.names) or "none"

    def identity(self, settings: ServerSettings, role: Role) -> ModelIdentity:
        """Return what answers for a role. Raises ConfigError where it is not what is expected."""
        model, weights = _split(self.find(settings.model))
        expected = settings.weights.lower()
        if expected and (weights == UNNAMED or not expected.startswith(weights)):
            raise ConfigError(f"expected weights {expected[:12]} of {model!r}, was {weights[:12]}")
        adapter = ""
        if role in settings.adapters:
            model, adapter = _split(self.find(settings.adapters[role]))
        return ModelIdentity(
            model=model,
            weights=weights,
            engine="vllm",
            version=self.version,
            dtype="server",  # vLLM does not tell
            adapter=adapter,
        )


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(shown(name, LONGEST_NAME) for name in names[:MOST_NAMES])
    return first + (f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else "")


def _split(served: str) -> tuple[str, str]:
    """Return a served name without its hash, and the hash."""
    match = HASHED.fullmatch(served)
    return (match["name"], match["digest"]) if match else (served, UNNAMED)
