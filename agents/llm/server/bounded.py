"""
Bounds what a server may send: how many bytes, in what encoding, from where.

An answer is read as it comes and is let go at the first byte beyond the bound, so that an endless
body costs as much memory as a long one. Answers are asked for as they are; one that comes
compressed is refused unread, for a thousand bytes of gzip may unfold into a gigabyte. A redirect
is an answer like any other: a prompt and a key go where the settings say, and nowhere else.
This file imports the HTTP client, so it is imported where a connection is made.
"""

from collections.abc import AsyncIterator

from httpx2 import AsyncByteStream, AsyncClient, Limits, Response

from config.errors import shown

MOST_BYTES = 4 << 20  # of an answer; the longest that a schema of ours allows has some kilobytes


class Unbounded(Exception):
    """An answer that is not read to its end; the words say what it was, and hold none of it."""


class _Bounded(AsyncByteStream):
    """The bytes of an answer, up to the bound."""

    def __init__(self, inner: AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come. Raises Unbounded where there are too many."""
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > MOST_BYTES:
                raise Unbounded(f"more than {MOST_BYTES >> 20} MiB")
            yield piece

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._inner.aclose()


async def _bound(response: Response) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Unbounded(f"compressed ({shown(encoding, 40)})")
    assert isinstance(response.stream, AsyncByteStream)
    response.stream = _Bounded(response.stream)


def bounded_client(connections: int) -> AsyncClient:
    """Return an HTTP client that follows no redirect and reads bounded answers."""
    return AsyncClient(
        follow_redirects=False,
        event_hooks={"response": [_bound]},
        limits=Limits(max_connections=None, max_keepalive_connections=connections),
    )
