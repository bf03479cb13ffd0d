"""
Counts what questions cost, by role, around any backend.

`summary` counts only what a replay repeats - answers, failures, tokens, latencies as recorded,
rounds - so that a replayed run reports what its recording did; `wall_seconds`, what asking really
took, stands apart. It bounds nothing and changes no answer.
"""

import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from agents.llm.chat import BackendAround, ChatBackend, ChatRequest, Completion, Failure, Role


class _Tally(msgspec.Struct):
    """One role's counts; `latencies` holds one number of nanoseconds an answer or failure."""

    rounds: int = 0
    requests: int = 0
    answers: int = 0
    streams: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failed_tokens: int = 0
    forward_passes: int = 0
    latencies: array[int] = msgspec.field(default_factory=lambda: array("q"))

    def take(self, answer: Completion | Failure) -> None:
        self.requests += 1
        self.latencies.append(answer.latency_ns)
        if isinstance(answer, Failure):
            self.failures[answer.kind] += 1
            self.failed_tokens += answer.tokens
            return
        self.answers += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.forward_passes += answer.forward_passes

    def summary(self) -> dict[str, Any]:
        counts = msgspec.structs.asdict(self)
        latencies = np.array(counts.pop("latencies"), dtype=np.int64)
        p50, p95 = np.percentile(latencies, (50, 95)).tolist() if len(latencies) else (0.0, 0.0)
        return counts | {
            "failures": dict(sorted(self.failures.items())),
            "latency_seconds": int(latencies.sum()) / 1e9,
            "latency_p50_seconds": p50 / 1e9,
            "latency_p95_seconds": p95 / 1e9,
        }


class MeteredBackend(BackendAround):
    """A backend that counts; the outermost, so that it sees what the minds see."""

    def __init__(self, inner: ChatBackend) -> None:
        super().__init__(inner)
        self.rounds = 0
        self.wall_seconds = 0.0
        self._roles: dict[Role, _Tally] = {}
        self._rounds_of: Counter[str] = Counter()

    @property
    def max_rounds_of_decision(self) -> int:
        """The most rounds that were asked for one decision."""
        return max(self._rounds_of.values(), default=0)

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order; one round."""
        start = time.perf_counter()
        answers = self._inner.complete(requests)
        self.wall_seconds += time.perf_counter() - start
        self.rounds += 1
        for decision in {request.of for request in requests if request.of}:
            self._rounds_of[decision] += 1
        for role in {request.role for request in requests}:
            self._tally(role).rounds += 1
        for request, answer in zip(requests, answers, strict=True):
            self._tally(request.role).take(answer)
        return answers

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield an answer's text as it comes; counted, its tokens are not known."""
        self._tally(request.role).streams += 1
        return self._inner.stream(request)

    def summary(self) -> dict[str, Any]:
        """
        Return all counts as JSON-able values, roles in alphabetical order.

        `requests` are answers and failures; tokens of failures stand apart; latencies are those
        that answers carry, in seconds.
        """
        return {
            "rounds": self.rounds,
            "max_rounds_of_decision": self.max_rounds_of_decision,
            "roles": {role: self._roles[role].summary() for role in sorted(self._roles)},
        }

    def _tally(self, role: Role) -> _Tally:
        return self._roles.setdefault(role, _Tally())
