"""
A connection to one OpenAI-compatible server: the official client on a loop of its own, and what
the server says that it serves.

The client's own retries are off. It is imported when the first connection is made, for that takes
a second. A detail holds no server's prose, which may repeat a prompt. It knows no request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from agents.llm.server.loop_thread import LoopThread
from agents.llm.server.served import Served
from config.errors import ConfigError, Retryable
from config.settings import ServerSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_SECONDS = 5.0  # until a connection stands, at most
LISTING_SECONDS = 10.0  # until a server has told what it serves, at most
PASSING = (408, 425, 429)  # HTTP statuses that may pass, beside 5xx


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Model, ...]


class _Version(msgspec.Struct, frozen=True):
    version: str


def host(base_url: str) -> str:
    """Return a server's host and port, without secrets. Raises ConfigError where it is no URL."""
    try:
        parts = urlsplit(base_url)
        where = f"{parts.hostname}:{parts.port or parts.scheme}"
    except ValueError as e:
        raise ConfigError(f"expected a server's http URL, was {base_url!r}") from e
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"expected a server's http URL, was {base_url!r}")
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

        self.client: AsyncOpenAI = AsyncOpenAI(
            base_url=settings.base_url,
            api_key=api_key,
            max_retries=0,
            timeout=Timeout(None, connect=min(CONNECT_SECONDS, seconds)),  # deadlines do the rest
        )
        self.slots = asyncio.Semaphore(settings.concurrency)
        self.served: Served | None = None
        self._where = host(settings.base_url)
        self._root = settings.base_url.rstrip("/").removesuffix("/v1")
        self._seconds = min(seconds, LISTING_SECONDS)
        self._listing = asyncio.Lock()
        self.loop = LoopThread("openai-compatible")

    def close(self) -> None:
        """Let go of the sockets and the thread."""
        self.loop.run(self.client.close())
        self.loop.close()

    async def list_served(self, *, without: str = "") -> Served:
        """
        Return what the server serves, as it was told once.

        It is asked again where it listed `without`, a name that it has just denied.
        Raises ConfigError where it is no such server, Retryable where it is down.
        """
        async with self._listing:
            if self.served is None or without in self.served.names:
                self.served = await self._ask()
            return self.served

    async def check(self) -> Served:
        """Return what the server serves now. Raises as `list_served`, also on a sick engine."""
        await self._get(f"{self._root}/health")
        return await self._ask()

    async def _ask(self) -> Served:
        try:
            models = msgspec.json.decode(await self._get("/models"), type=_Models)
        except msgspec.DecodeError as e:
            detail = f"expected a list of models from {self._where}, was something else"
            raise ConfigError(detail) from e
        try:
            told = await self._get(f"{self._root}/version")
            version = msgspec.json.decode(told, type=_Version).version
        except (ConfigError, msgspec.DecodeError):
            version = "unknown"  # only vLLM tells
        return Served(tuple(model.id for model in models.data), version)

    async def _get(self, path: str) -> bytes:
        """Return a page's bytes. Raises ConfigError on 4xx, Retryable on what may pass."""
        from openai import APIConnectionError, APIStatusError

        what = f"expected /{path.rpartition('/')[2]} of {self._where}"
        try:
            async with asyncio.timeout(self._seconds):
                return await self.client.get(path, cast_to=bytes)
        except APIStatusError as e:
            wrong = Retryable if passes(e.status_code) else ConfigError
            raise wrong(f"{what}, was HTTP {e.status_code}") from e
        except APIConnectionError as e:
            raise Retryable(f"{what}, was {cause(e)}") from e
        except TimeoutError as e:
            raise Retryable(f"{what}, was no answer in {self._seconds:g} s") from e
