"""
A `ChatBackend` over an OpenAI-compatible server, vLLM first: many questions, one deadline.

A batch goes out at once, within the server's concurrency, and comes back whole by the deadline:
what is not there by then is a timeout, and the other answers stand. What may pass (no connection,
429, 5xx) is tried again after a pause that doubles, with jitter that the seed and the question
fix. Answers are checked against their schema here too: a server's word for it is not enough.

No prompt and no server's prose is in a detail. It knows no juniors and no cache.
"""

import asyncio
import hashlib
import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from agents.llm.chat import ChatRequest, Completion, Failure, FailureKind, ModelIdentity, Role
from agents.llm.server.connection import Connection, cause, host, passes
from agents.llm.server.replies import read_reply
from config.errors import ConfigError, Retryable
from config.settings import ServerSettings

CANCEL_SECONDS = 0.5  # that cancelled requests get to let go of their connections


class OpenAICompatibleBackend:
    """
    The backend of one server; callers may be on any thread.

    `seconds_per_round` is the deadline of one batch, `seed` fixes the jitter of retries.
    Raises ConfigError where the server's address is none.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        api_key: str = "none",
        seconds_per_round: float,
        seed: int,
    ) -> None:
        self._where = host(settings.base_url)
        self._settings = settings
        self._api_key = api_key
        self._seconds = seconds_per_round
        self._seed = seed
        self._starting = threading.Lock()
        self._connection: Connection | None = None

    def identity(self, role: Role) -> ModelIdentity:
        """
        Return what answers for a role; asks the server once in the backend's life.

        Raises ConfigError where it serves another model, Retryable where it is down.
        """
        connection = self._connect()
        served = connection.run(connection.list_served)
        return served.identity(self._settings, role)

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order, by the deadline."""
        if not requests:
            return []
        connection = self._connect()
        return connection.run(self._batch, connection, requests, time.perf_counter_ns())

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield an answer's text as it comes. Raises Retryable; there are no second tries."""
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        connection = self._connect()
        pump = connection.start(self._pump, connection, request, pieces)
        try:
            while (piece := pieces.get()) is not None:
                yield piece
            pump.result()
        finally:
            pump.cancel()

    def close(self) -> None:
        """End the connections and the thread; a later question starts them again."""
        with self._starting:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        with self._starting:
            if self._connection is None:
                self._connection = Connection(self._settings, self._api_key, self._seconds)
            return self._connection

    async def _batch(
        self, connection: Connection, requests: Sequence[ChatRequest], start_ns: int
    ) -> list[Completion | Failure]:
        deadline = time.monotonic() + self._seconds
        tasks = [
            asyncio.create_task(self._answer(connection, request, start_ns, deadline))
            for request in requests
        ]
        try:
            done, _ = await asyncio.wait(tasks, timeout=self._seconds)
        finally:
            for task in tasks:
                task.cancel()
        if len(done) < len(tasks):
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        late = Failure(
            kind="timeout",
            detail=f"expected an answer within {self._seconds:g} s, was none",
            latency_ns=time.perf_counter_ns() - start_ns,
        )
        return [task.result() if task in done else late for task in tasks]

    async def _answer(
        self, connection: Connection, request: ChatRequest, start_ns: int, deadline: float
    ) -> Completion | Failure:
        tries = 0
        while True:
            async with connection.slots:
                answer, passing = await self._ask(connection, request, start_ns)
            pause = self._pause(request, tries)
            late = time.monotonic() + pause >= deadline  # a try that cannot end is not begun
            if not passing or tries == self._settings.retries or late:
                return answer
            tries += 1
            await asyncio.sleep(pause)

    async def _ask(
        self, connection: Connection, request: ChatRequest, start_ns: int
    ) -> tuple[Completion | Failure, bool]:
        """Return one try's answer, and whether its failure may pass."""
        from openai import APIConnectionError, APIStatusError

        from agents.llm.server.bounded import Unbounded

        kind: FailureKind
        try:
            body: Any = self._body(connection, request)
            raw = await connection.client.chat.completions.with_raw_response.create(**body)
            return read_reply(raw.content, request, time.perf_counter_ns() - start_ns), False
        except APIStatusError as e:
            status = e.status_code
            kind = "unreachable" if status >= 500 else "refused"
            passing = passes(status)
            detail = f"expected an answer from {self._where}, was HTTP {status}"
            if status == 404:
                detail = await self._unknown(connection, body["model"])
        except APIConnectionError as e:
            kind, passing = "unreachable", True
            detail = f"expected an answer from {self._where}, was {cause(e)}"
        except Unbounded as e:
            kind, passing = "invalid", False
            detail = f"expected an answer from {self._where}, was {e}"
        latency_ns = time.perf_counter_ns() - start_ns
        return Failure(kind=kind, detail=detail, latency_ns=latency_ns), passing

    def _body(self, connection: Connection, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._name(connection, request.role),
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.schema:
            schema = msgspec.json.decode(request.schema)
            named = {"name": f"{request.role}_answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _name(self, connection: Connection, role: Role) -> str:
        """Return the name to ask for: with its hash once the server has told it."""
        name = self._settings.adapters.get(role, self._settings.model)
        try:
            return connection.served.find(name) if connection.served else name
        except ConfigError:
            return name  # the server's 404 says so

    async def _unknown(self, connection: Connection, name: str) -> str:
        """Return what to say of a 404: the model that was expected and those that are served."""
        try:
            served = await connection.list_served(without=name)
        except (ConfigError, Retryable):
            return f"expected model {name!r} at {self._where}, was HTTP 404"
        return f"expected model {name!r}, was a server of {served.listed}"

    def _pause(self, request: ChatRequest, tries: int) -> float:
        """Return the seconds before the next try, half to one and a half of the nominal."""
        key = msgspec.json.encode((self._seed, tries, request))
        jitter = random.Random(hashlib.sha256(key).digest()).uniform(0.5, 1.5)
        return self._settings.backoff_seconds * 2.0**tries * jitter

    async def _pump(
        self,
        connection: Connection,
        request: ChatRequest,
        pieces: queue.SimpleQueue[str | None],
    ) -> None:
        """Put an answer's pieces as they come, then None. Raises Retryable."""
        from openai import APIError, APIStatusError

        from agents.llm.server.bounded import Unbounded

        ended = False
        try:
            async with asyncio.timeout(self._seconds), connection.slots:
                body: Any = self._body(connection, request) | {"stream": True}
                async with await connection.client.chat.completions.create(**body) as chunks:
                    async for chunk in chunks:
                        for choice in chunk.choices:
                            ended = ended or bool(choice.finish_reason)
                            if choice.delta.content:
                                pieces.put(choice.delta.content)
        except APIStatusError as e:
            detail = f"expected a stream from {self._where}, was HTTP {e.status_code}"
            raise Retryable(detail) from e
        except Unbounded as e:
            raise Retryable(f"expected a stream from {self._where}, was {e}") from e
        except (APIError, ValueError) as e:
            detail = f"expected a stream from {self._where}, was {cause(e)}"
            raise Retryable(detail) from e
        except TimeoutError as e:
            detail = f"expected the stream's end within {self._seconds:g} s, was none"
            raise Retryable(detail) from e
        finally:
            pieces.put(None)
        if not ended:
            raise Retryable(f"expected the end of a stream from {self._where}, was broken off")
