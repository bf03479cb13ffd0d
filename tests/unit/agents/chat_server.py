"""
A chat-completions server on 127.0.0.1 that misbehaves on request, for tests of its clients.

The first word of a question's last message names how it is answered (see `_answer`); "ok" is
right. It speaks just enough HTTP/1.1, on a loop in its own thread.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from typing import Any, Self

GOOD = '{"score":1.5,"why":"fine"}'
TEXTS = {
    "ok": GOOD,
    "cut-json": '{"score":1.5,"why":"fi',
    "nan": '{"score":NaN,"why":"fine"}',
    "infinite": '{"score":1e999,"why":"fine"}',
    "out-of-range": '{"score":7,"why":"fine"}',
    "unknown-field": '{"score":1,"why":"fine","weight":1}',
    "missing-field": '{"score":1}',
    "twice": '{"score":1,"score":2,"why":"fine"}',
    "prose": "BUY BUY BUY",
    "empty": "",
    "megabyte": '{"score":1,"why":"' + "x" * 1_000_000 + '"}',
}


class ChatServer:
    """A running server; `asked` holds every question's body, in the order of arrival."""

    def __init__(self, names: tuple[str, ...] = ("tiny@" + "ab" * 32,), version: str = "0.32.0"):
        self.names = names
        self.version = version
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0
        self.listings = 0
        self._seen: Counter[str] = Counter()
        self._open: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._open.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.split(b" ", 2)
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = await reader.readexactly(length)
                if method == b"GET":
                    self._page(path.decode(), writer)
                    continue
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await self._answer(json.loads(body), writer)
                finally:
                    self.at_once -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    def _page(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/version":
            _reply(writer, {"version": self.version})
        elif path == "/v1/models":
            self.listings += 1
            _reply(writer, {"object": "list", "data": [{"id": name} for name in self.names]})
        else:
            _reply(writer, {"error": "no such page"}, 404)

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.asked.append(body)
        question = body["messages"][-1]["content"]
        fault, _, rest = question.partition(" ")
        self._seen[question] += 1
        first = self._seen[question] == 1
        if body["model"] not in (*self.names, "tiny"):
            _reply(writer, {"error": {"message": f"no {body['model']}: {question}"}}, 404)
        elif fault == "busy-once" and first:
            _reply(writer, {"error": {"message": question}}, 429)
        elif fault == "broken-once" and first:
            _reply(writer, {"error": {"message": question}}, 500)
        elif fault in ("400", "429", "500"):
            _reply(writer, {"error": {"message": question}}, int(fault))
        elif fault == "silent":
            await asyncio.sleep(30)
        elif fault == "stall":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{")
            await asyncio.sleep(30)
        elif fault == "reset":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{")
            await writer.drain()
            writer.transport.abort()
        elif fault == "not-a-completion":
            _reply(writer, {"choices": []})
        elif fault == "cut-reply":
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"choices":[')
        elif body.get("stream"):
            await _stream(writer, fault, rest)
        else:
            if fault == "after":
                await asyncio.sleep(float(rest.split()[0]))
            _reply(writer, _completion(fault, question))


def _completion(fault: str, question: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": TEXTS.get(fault, question)}
    reason = "stop"
    if fault == "length":
        message["content"], reason = GOOD[:9], "length"
    elif fault == "filter":
        reason = "content_filter"
    elif fault == "refusal":
        message |= {"content": None, "refusal": "I will not."}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}


async def _stream(writer: asyncio.StreamWriter, fault: str, rest: str) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    )
    for word in rest.split():
        _event(writer, {"delta": {"content": word + " "}, "finish_reason": None})
        await writer.drain()
        await asyncio.sleep(0.01)
    if fault == "stream-stalls":
        await asyncio.sleep(30)
    if fault != "stream-breaks":
        _event(writer, {"delta": {}, "finish_reason": "stop"})
        writer.write(b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()


def _event(writer: asyncio.StreamWriter, choice: dict[str, Any]) -> None:
    chunk = {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
    writer.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _reply(writer: asyncio.StreamWriter, value: object, status: int = 200) -> None:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
