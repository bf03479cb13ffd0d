"""
A mixture of backends: sends each role's questions to the role's own backend, all in one call.
"""

from collections.abc import Iterator, Mapping, Sequence

from agents.llm.chat import ChatBackend, ChatRequest, Completion, Failure, ModelIdentity, Role


class ByRole:
    """Backends by role; one that serves several roles is asked once a round."""

    def __init__(self, backends: Mapping[Role, ChatBackend]) -> None:
        self._backends = dict(backends)

    def identity(self, role: Role) -> ModelIdentity:
        """Return what answers for a role."""
        return self._backends[role].identity(role)

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order."""
        places: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(id(self._backends[request.role]), []).append(place)
        answers: dict[int, Completion | Failure] = {}
        for mine in places.values():
            backend = self._backends[requests[mine[0]].role]
            answers.update(zip(mine, backend.complete([requests[p] for p in mine]), strict=True))
        return [answers[place] for place in range(len(requests))]

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield an answer's text as it comes."""
        return self._backends[request.role].stream(request)

    def close(self) -> None:
        """Close every backend once."""
        for backend in {id(b): b for b in self._backends.values()}.values():
            backend.close()
