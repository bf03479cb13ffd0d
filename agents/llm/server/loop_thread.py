"""
An asyncio loop in a thread of its own, for synchronous callers of asynchronous clients.

Callers may be on any thread, also on one that runs another loop, and several at once. The thread
starts with the object and ends with `close`, which cancels what still runs. It knows nothing of
what runs in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future


class LoopThread:
    """One loop, one thread; `close` must be called once."""

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def start[T](self, work: Coroutine[None, None, T]) -> Future[T]:
        """Start work on the loop and return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run[T](self, work: Coroutine[None, None, T]) -> T:
        """Return work's result; an interrupted wait (Ctrl-C) cancels the work."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
