"""
A circuit breaker: after failures in a row the server is left alone for some rounds.

Rounds are counted, never seconds, so that the same answers open and close it the same way
everywhere. A request that is not asked fails as "circuit", and the rule-backed analyst answers in
its place. It knows no engine. One caller at a time.
"""

import logging
from collections.abc import Sequence

from agents.llm.chat import (
    BackendAround,
    ChatBackend,
    ChatRequest,
    Completion,
    Failure,
    FailureKind,
)
from config.settings import ServerSettings

log = logging.getLogger(__name__)

SICK: frozenset[FailureKind] = frozenset({"timeout", "unreachable", "refused"})


class CircuitBreaker(BackendAround):
    """
    A backend behind a breaker.

    It opens when a round ends with `circuit_failures` failures in a row, in the requests' order
    and over rounds; an answer that came but is truncated or invalid ends the row, for the server
    is there. After `circuit_rounds` rounds without a question, the next one asks its first
    request alone: an answer closes the circuit, a failure opens it again. `opened` counts both.
    """

    def __init__(self, inner: ChatBackend, settings: ServerSettings) -> None:
        super().__init__(inner)
        self.opened = 0
        self._failures_to_open = settings.circuit_failures
        self._rounds_to_rest = settings.circuit_rounds
        self._row = 0  # failures since the last answer
        self._is_open = False
        self._resting = 0  # rounds until the trial

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order; what is not asked fails as "circuit"."""
        if not requests:
            return []
        if self._is_open and self._resting:
            self._resting -= 1
            return [self._unasked() for _ in requests]
        asked = requests[:1] if self._is_open else requests
        answers = self._inner.complete(asked)
        self._judge(answers)
        return answers + [self._unasked() for _ in requests[len(asked) :]]

    def _judge(self, answers: Sequence[Completion | Failure]) -> None:
        for answer in answers:
            sick = isinstance(answer, Failure) and answer.kind in SICK
            self._row = self._row + 1 if sick else 0
        self._is_open = self._row >= self._failures_to_open  # a failed trial lengthens the row
        if self._is_open:
            self.opened += 1
            self._resting = self._rounds_to_rest
            log.warning("circuit opened after %d failures, time %d", self._row, self.opened)

    def _unasked(self) -> Failure:
        detail = f"expected a server that answers, was {self._row} failures in a row: not asked"
        return Failure(kind="circuit", detail=detail)
