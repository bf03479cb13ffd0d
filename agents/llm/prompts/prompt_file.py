"""
Prompts as versioned files: `agents/llm/prompts/<name>.md`, named by version and content.

A prompt file begins with `version: N` between two `---` lines; what follows is a system part and
a user part, each under its own `# system` or `# user` line, with {{name}} where a value goes. The
system part holds no value, so that all questions of a role share it to the letter and an engine
computes it once. It knows no model.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from agents.llm.chat import ChatMessage
from config.errors import ConfigError

SHAPE = re.compile(
    r"---\nversion: (?P<version>\d+)\n---\n+# system\n(?P<system>.*?)\n# user\n(?P<user>.*)", re.S
)
BLANK = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt's two parts; `revision` is `name-version@sha8`."""

    name: str
    revision: str
    system: str
    user: str

    def fill(self, **values: str) -> tuple[ChatMessage, ...]:
        """Return the messages; every blank needs its value and every value its blank."""
        blanks = set(BLANK.findall(self.user))
        if blanks != values.keys():
            raise ConfigError(
                f"prompt {self.name}: expected values for {sorted(blanks)}, was {sorted(values)}"
            )
        user = BLANK.sub(lambda match: values[match.group(1)], self.user)
        return (
            ChatMessage(role="system", content=self.system),
            ChatMessage(role="user", content=user),
        )


@cache
def load_prompt(name: str) -> Prompt:
    """Return a prompt by its name. Raises ConfigError on an unknown name or a wrong file."""
    path = files("agents.llm.prompts").joinpath(f"{name}.md")
    if not path.is_file():
        raise ConfigError(f"expected a prompt under agents/llm/prompts, was {name!r}")
    text = path.read_text(encoding="utf-8")
    match = SHAPE.fullmatch(text)
    if match is None:
        raise ConfigError(f"expected version, # system and # user in prompt {name}, was another")
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Prompt(
        name=name,
        revision=f"{name}-{match['version']}@{digest}",
        system=match["system"].strip(),
        user=match["user"].strip(),
    )
