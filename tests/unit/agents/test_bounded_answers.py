"""What a hostile server sends: no more is read than an answer may be, and nobody else is asked."""

from __future__ import annotations

import contextlib
import gzip
import json
import socketserver
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import openai  # noqa: F401  (what its import takes is not measured)
import pytest

from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure
from agents.llm.server.bounded import MOST_BYTES
from agents.llm.server.openai_compatible import OpenAICompatibleBackend
from config.errors import ConfigError, Retryable
from config.settings import ServerSettings

MIB = 1 << 20
QUESTION = ChatRequest(
    role="news", messages=(ChatMessage(role="user", content="the prompt's words"),), max_tokens=8
)
CHUNKED = b"transfer-encoding: chunked\r\n"
PIECE = b"10000\r\n" + b"x" * 65_536 + b"\r\n"


class Server(socketserver.ThreadingTCPServer):
    """A server that answers every request by `script`, which is given a way to write."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, script: Callable[[Callable[[bytes], object], str], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.asked: list[str] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        self.server.asked.append(head.decode())
        length = [n for n in head.lower().split(b"\r\n") if n.startswith(b"content-length:")]
        self.rfile.read(int(length[0].split(b":")[1]) if length else 0)
        with contextlib.suppress(OSError):  # the client has let go
            self.server.script(self._write, head.split(b" ")[1].decode())

    def _write(self, content: bytes) -> None:
        self.wfile.write(content)
        self.server.sent += len(content)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Server, OpenAICompatibleBackend]]]:
    """Return a maker of a server with a script, and of a backend that asks it."""
    opened: list[tuple[Server, OpenAICompatibleBackend]] = []

    def make(script: Callable[..., None], seconds: float = 8.0, **given: object):
        server = Server(script)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings = ServerSettings(base_url=server.url, model="tiny", retries=0, **given)
        backend = OpenAICompatibleBackend(settings, seconds_per_round=seconds, seed=0)
        opened.append((server, backend))
        return server, backend

    yield make
    for server, backend in opened:
        backend.close()
        server.shutdown()
        server.server_close()


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def completion(text: str) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice]}).encode()


def bomb(kind: str) -> bytes:
    """Return 200 MB of spaces in an answer, compressed to 200 kB."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31 if kind == "gzip" else 15)
    piece = b" " * MIB
    return b"".join([*(pack.compress(piece) for _ in range(200)), pack.flush()])


BOMBS = {kind: bomb(kind) for kind in ("gzip", "deflate")}


def endless(write: Callable[[bytes], object], head: bytes = CHUNKED) -> None:
    write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    for _ in range(4_000):  # 250 MB
        write(PIECE)


def growth(work: Callable[[], object]) -> tuple[object, int]:
    """Return what some work gave, and how many bytes Python held at most meanwhile."""
    tracemalloc.start()
    try:
        given = work()
        return given, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_answer_is_an_abstention_and_is_never_unpacked(serve, kind):
    body = BOMBS.get(kind, BOMBS["gzip"])
    _, backend = serve(lambda write, _: write(ok(body, f"content-encoding: {kind}")))
    answers, most = growth(lambda: backend.complete([QUESTION] * 4))
    assert {(a.kind, "compressed" in a.detail) for a in answers} == {("invalid", True)}
    assert most < 16 * MIB  # four answers of 200 MB each


def test_an_answer_is_asked_for_as_it_is(serve):
    server, backend = serve(lambda write, _: write(ok(completion("fine"))))
    assert backend.complete([QUESTION])[0].text == "fine"
    assert "accept-encoding: identity" in server.asked[0].lower()


def test_a_bomb_as_the_body_of_an_error_is_not_unpacked_either(serve):
    page = ok(BOMBS["gzip"], "content-encoding: gzip", status="500 Broken")
    _, backend = serve(lambda write, _: write(page))
    answers, most = growth(lambda: backend.complete([QUESTION] * 4))
    assert {a.kind for a in answers} == {"invalid"}
    assert most < 16 * MIB  # four answers of 200 MB each


@pytest.mark.parametrize("head", [CHUNKED, b"", b"content-length: 9000000000000\r\n"])
@pytest.mark.parametrize("status", [b"200 OK", b"503 Busy"])
def test_an_endless_answer_is_let_go_at_the_bound(serve, head, status):
    def script(write, _):
        write(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n")
        for _ in range(4_000):
            write(PIECE)

    server, backend = serve(script)
    (answer,), most = growth(lambda: backend.complete([QUESTION]))
    assert isinstance(answer, Failure)
    assert (answer.kind, "4 MiB" in answer.detail) == ("invalid", True)
    assert most < 4 * MOST_BYTES
    assert server.sent < 40 * MIB  # what had been sent when the client let go


def test_an_answer_within_the_bound_is_read(serve):
    text = "x" * (MOST_BYTES - 1_000)
    _, backend = serve(lambda write, _: write(ok(completion(text))))
    (answer,) = backend.complete([QUESTION])
    assert isinstance(answer, Completion)
    assert len(answer.text) == len(text)


def test_endless_headers_are_an_abstention(serve):
    def script(write, _):
        write(b"HTTP/1.1 200 OK\r\n")
        for i in range(2_000_000):
            write(f"x-{i}: {'y' * 1000}\r\n".encode())

    server, backend = serve(script)
    (answer,) = backend.complete([QUESTION])
    assert answer.kind == "unreachable"
    assert server.sent < 40 * MIB


@pytest.mark.parametrize("where", ["in the headers", "in the body", "interim answers"])
def test_a_slow_drip_ends_at_the_deadline(serve, where):
    def script(write, _):
        if where != "interim answers":
            write(b"HTTP/1.1 200 OK\r\n")
        if where == "in the body":
            write(b"content-length: 900\r\n\r\n")
        while True:
            write(b"HTTP/1.1 100 Continue\r\n\r\n" if where == "interim answers" else b"x")
            time.sleep(0.05)

    _, backend = serve(script, seconds=1.0)
    start = time.monotonic()
    (answer,) = backend.complete([QUESTION])
    assert answer.kind == "timeout"
    assert time.monotonic() - start < 2.5


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(serve, code):
    other, _ = serve(lambda write, _: write(ok(completion("from elsewhere"))))
    page = ok(b"", f"location: {other.url}/chat/completions", status=f"{code} Elsewhere")
    _, backend = serve(lambda write, _: write(page))
    (answer,) = backend.complete([QUESTION])
    assert answer.kind == "refused"
    assert f"HTTP {code}" in answer.detail
    assert other.asked == []
    with pytest.raises(ConfigError, match=f"was HTTP {code}"):
        backend.identity("news")
    assert other.asked == []


def test_a_number_of_tokens_that_no_store_can_count_is_an_abstention(serve):
    usage = {"prompt_tokens": 10**30, "completion_tokens": 1}
    body = json.dumps(json.loads(completion("fine")) | {"usage": usage}).encode()
    _, backend = serve(lambda write, _: write(ok(body)))
    assert backend.complete([QUESTION])[0].kind == "invalid"


def test_a_deep_answer_is_an_abstention(serve):
    _, backend = serve(lambda write, _: write(ok(b'{"choices":' + b"[" * 2_000_000)))
    assert backend.complete([QUESTION])[0].kind == "invalid"


# --- what a server lists -------------------------------------------------------------------------


def models(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (ok(models(*(f"model-{i}" for i in range(60_000)))), "was a server of 'model-0'"),
        (ok(models("x" * 3_000_000)), "was a server of 'xxxx"),
        (ok(models(*["n\u202e\n\x1b[31m" * 9] * 9)), r"was a server of 'n\\u202e\\n\\x1b"),
        (ok(models(*(f"tiny@{i:064x}" for i in range(40_000)))), "expected one model 'tiny', was"),
        (ok(models("tiny") + b" " * MOST_BYTES), "more than 4 MiB"),
        (ok(gzip.compress(models("tiny")), "content-encoding: gzip"), "was compressed"),
        (ok(b'{"data":' + b"[" * 2_000_000), "something else"),
        (ok(b"\x00\xff" * 1_000), "something else"),
    ],
)
def test_a_hostile_list_of_models_is_one_short_line(serve, page, words):
    _, backend = serve(lambda write, _: write(page))
    with pytest.raises(ConfigError, match=words) as refusal:
        backend.identity("news")
    assert len(str(refusal.value)) <= 300
    assert str(refusal.value).isprintable()


def test_an_endless_list_of_models_is_let_go_at_the_bound(serve):
    server, backend = serve(lambda write, _: endless(write))
    with pytest.raises(ConfigError, match="more than 4 MiB"):
        backend.identity("news")
    assert server.sent < 40 * MIB


@pytest.mark.parametrize("version", ["v" * 1_000_000, "1.0\n\x1b[2J", "", 3])
def test_a_version_that_is_none_is_not_kept(serve, version):
    def script(write, path):
        page = json.dumps({"version": version}).encode() if path == "/version" else models("tiny")
        write(ok(page))

    _, backend = serve(script)
    assert backend.identity("news").version == "unknown"


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"data: " + b"x" * 65_000, b": keep alive\n\n" * 5_000])
def test_an_endless_stream_is_let_go_at_the_bound(serve, line):
    def script(write, _):
        write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for _ in range(4_000):
            write(line)

    server, backend = serve(script)
    with pytest.raises(Retryable, match="more than 4 MiB"):
        list(backend.stream(QUESTION))
    assert server.sent < 40 * MIB


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://exa mple/v1",
            "http://[::1/v1",
            "http://\u202e/v1",
            "http://x\n/v1",
            "http:///v1",
        ),
        *("http://x:99999999/v1", "file:///etc/passwd", "http://" + "x" * 5_000, "http://x/\x00"),
    ],
)
def test_a_hostile_address_is_a_config_error(url):
    with pytest.raises(ConfigError, match="expected a server's http URL") as refusal:
        OpenAICompatibleBackend(ServerSettings(base_url=url), seconds_per_round=1.0, seed=0)
    assert len(str(refusal.value)) <= 300
    assert str(refusal.value).isprintable()
