"""
A connection to one OpenAI-compatible server: the official client, and what the server serves.

The client is asynchronous; it runs on an event loop in a thread of its own (anyio's portal), so
that synchronous callers may be on any thread, several at once. The client's own retries are off.
It is imported when the first connection is made, for that takes a second. An error's detail holds
no prose of the server, which may repeat a prompt. This file knows no request.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal
from msgspec import Meta

from agents.llm.server.served import Served
from config.errors import ConfigError, Retryable, shown
from config.settings import ServerSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_SECONDS = 5.0  # until a connection stands, at most
LISTING_SECONDS = 10.0  # until a server has listed its models, at most
ADDRESS = re.compile(r"[!-~]{1,2000}")  # no space, and nothing beyond ASCII
PASSING = (408, 425, 429)  # HTTP statuses that may pass, beside 5xx


def _end(thread: ExitStack, portal: BlockingPortal, client: AsyncOpenAI) -> None:
    """Close the client, cancel what still runs, and end the thread."""
    portal.call(client.close)
    portal.call(portal.stop, True)
    thread.close()


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Model, ...]


class _Version(msgspec.Struct, frozen=True):
    version: Annotated[str, Meta(pattern=r"^[\w.+-]{1,64}$")]


def host(base_url: str) -> str:
    """Return a server's host and port, without secrets. Raises ConfigError where it is no URL."""
    try:
        parts = urlsplit(base_url)
        where = f"{parts.hostname}:{parts.port or parts.scheme}"
    except ValueError as e:
        raise ConfigError(f"expected a server's http URL, was {shown(base_url)}") from e
    named = re.fullmatch(r"[\w.:-]{1,253}", parts.hostname or "", flags=re.ASCII)
    if parts.scheme not in ("http", "https") or not named or not ADDRESS.fullmatch(base_url):
        raise ConfigError(f"expected a server's http URL, was {shown(base_url)}")
    return where


def passes(status: int) -> bool:
    """Return whether an HTTP status may be another a moment later."""
    return status >= 500 or status in PASSING


def cause(error: Exception) -> str:
    """Return the name of what broke: it holds no text of a request or a reply."""
    return type(error.__cause__ or error).__name__


class Connection:
    """What lives from the first question to `close`; `served` is what was last listed."""

    def __init__(self, settings: ServerSettings, api_key: str, seconds: float) -> None:
        from openai import AsyncOpenAI, Timeout

        from agents.llm.server.bounded import bounded_client

        self.client: AsyncOpenAI = AsyncOpenAI(
            base_url=settings.base_url,
            api_key=api_key,
            max_retries=0,
            timeout=Timeout(None, connect=min(CONNECT_SECONDS, seconds)),  # deadlines do the rest
            default_headers={"Accept-Encoding": "identity"},
            http_client=bounded_client(settings.concurrency),
        )
        self.slots = asyncio.Semaphore(settings.concurrency)
        self.served: Served | None = None
        self._where = host(settings.base_url)
        self._root = settings.base_url.rstrip("/").removesuffix("/v1")
        self._seconds = min(seconds, LISTING_SECONDS)
        self._listing = asyncio.Lock()
        thread = ExitStack()
        self._portal = thread.enter_context(
            start_blocking_portal("asyncio", name="openai-compatible")
        )
        self._end = weakref.finalize(self, _end, thread, self._portal, self.client)

    def start[*Args, T](self, work: Callable[[*Args], Awaitable[T]], *args: *Args) -> Future[T]:
        """Start work on the loop and return its future; cancelling that cancels the work."""
        return self._portal.start_task_soon(work, *args)

    def run[*Args, T](self, work: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
        """Return the work's result; an interrupted wait (Ctrl-C) cancels the work."""
        future = self.start(work, *args)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Let go of the sockets and the thread, as the interpreter's end does otherwise."""
        self._end()

    async def list_served(self, *, without: str = "") -> Served:
        """
        Return what the server serves, as it was listed once.

        It is asked again where it listed `without`, a name that it has just denied.
        Raises ConfigError where it is no such server, Retryable where it is down.
        """
        async with self._listing:
            if self.served is None or without in self.served.names:
                self.served = await self._ask()
            return self.served

    async def _ask(self) -> Served:
        try:
            models = msgspec.json.decode(await self._get("/models"), type=_Models)
        except (msgspec.DecodeError, RecursionError) as e:
            detail = f"expected a list of models from {self._where}, was something else"
            raise ConfigError(detail) from e
        try:
            page = await self._get(f"{self._root}/version")
            version = msgspec.json.decode(page, type=_Version).version  # it is kept with runs
        except (ConfigError, msgspec.DecodeError, RecursionError):
            version = "unknown"  # only vLLM tells
        return Served(tuple(model.id for model in models.data), version)

    async def _get(self, path: str) -> bytes:
        """Return a page's bytes. Raises ConfigError on 4xx, Retryable on what may pass."""
        from openai import APIConnectionError, APIStatusError

        from agents.llm.server.bounded import Unbounded

        what = f"expected /{path.rpartition('/')[2]} of {self._where}"
        try:
            async with asyncio.timeout(self._seconds):
                return await self.client.get(path, cast_to=bytes)
        except APIStatusError as e:
            wrong = Retryable if passes(e.status_code) else ConfigError
            raise wrong(f"{what}, was HTTP {e.status_code}") from e
        except APIConnectionError as e:
            raise Retryable(f"{what}, was {cause(e)}") from e
        except Unbounded as e:
            raise ConfigError(f"{what}, was {e}") from e
        except TimeoutError as e:
            raise Retryable(f"{what}, was no answer in {self._seconds:g} s") from e
