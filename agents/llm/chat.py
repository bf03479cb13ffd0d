"""
What is asked of a language model and what comes back: the vocabulary of every backend.

`ChatRequest` -> `Completion` or `Failure`, many at once and in order. A failure is a value, not
an exception: it becomes an abstention of the one who asked, is counted by its kind, and the other
answers of its batch stand. This page knows no engine.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Protocol

from msgspec import Meta

from agents.messages import Message

type Role = Literal["news", "technical", "fundamental", "strategist", "explainer"]
ROLES: tuple[Role, ...] = ("news", "technical", "fundamental", "strategist", "explainer")

type FailureKind = Literal[
    "timeout",  # no answer before the deadline
    "unreachable",  # the server is down, half-open, or broke off
    "refused",  # the server or the model would not answer
    "truncated",  # the answer did not end within max_tokens
    "invalid",  # not JSON, or outside its schema
    "budget",  # the decision's or the run's budget is spent: not asked
    "circuit",  # too many failures in a row: not asked, the rule-backed analyst answers
]


class ChatMessage(Message, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Message, frozen=True, kw_only=True):
    """
    One question to the model of a role.

    `schema` is a JSON Schema as canonical JSON text, "" for free text (chat). `of` names the
    decision that it is asked for: budgets count by it, and it is no part of what is cached.
    """

    role: Role
    messages: tuple[ChatMessage, ...]
    schema: str = ""
    max_tokens: Annotated[int, Meta(ge=1)] = 256
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    seed: int = 0
    of: str = ""


class Completion(Message, frozen=True, kw_only=True):
    """
    An answer. `latency_ns` is from the batch's start to this answer, as measured when it was
    made; a replayed one keeps it. `forward_passes` is the embedded engine's count, else 0.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    latency_ns: int
    forward_passes: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and answer together: what is paid for."""
        return self.prompt_tokens + self.completion_tokens


class Failure(Message, frozen=True, kw_only=True):
    """No answer, why, and what it still cost; `detail` is one line without any prompt."""

    kind: FailureKind
    detail: str
    latency_ns: int = 0
    tokens: int = 0


class ModelIdentity(Message, frozen=True, kw_only=True):
    """
    Exactly what answers for a role: any difference here may change an answer.

    `weights` and `adapter` are SHA-256 (`adapter` "" where the role has none).
    """

    model: str
    weights: str
    engine: str
    version: str
    dtype: str
    adapter: str = ""

    @property
    def label(self) -> str:
        """The short form that opinions and reports carry."""
        adapter = f"+{self.adapter[:8]}" if self.adapter else ""
        return f"{self.engine}/{self.model}@{self.weights[:8]}{adapter}"

    @property
    def described(self) -> str:
        """The label with what else may change an answer: it names a run."""
        return f"{self.label} {self.version} {self.dtype}"


class ChatBackend(Protocol):
    """A language model, batch first."""

    def identity(self, role: Role) -> ModelIdentity:
        """Return what answers for a role; cheap, loads no weights. Raises ConfigError."""

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order; blocks until all are there."""

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield an answer's text as it comes: for chat only. Raises Retryable."""

    def close(self) -> None:
        """Let go of connections and memory."""


class BackendAround:
    """A backend around another, which does all that a class derived from it leaves out."""

    def __init__(self, inner: ChatBackend) -> None:
        self._inner = inner

    def identity(self, role: Role) -> ModelIdentity:
        """Return the inner backend's."""
        return self._inner.identity(role)

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield the inner backend's pieces: chat is no decision's business."""
        return self._inner.stream(request)

    def close(self) -> None:
        """Close the inner backend."""
        self._inner.close()
