"""The backend of an OpenAI-compatible server, against a real one that misbehaves on request."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure
from agents.llm.schema import longest_answer, violation
from agents.llm.server.openai_compatible import OpenAICompatibleBackend
from config.errors import ConfigError, Retryable
from config.settings import ServerSettings
from tests.unit.agents.chat_server import GOOD, ChatServer

SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "number", "minimum": -2, "maximum": 2},
        "why": {"type": "string", "maxLength": 20},
    },
    "required": ["score", "why"],
    "additionalProperties": False,
}
SECRET = "the prompt's own words"


def question(word: str, *, schema: bool = True, role: str = "news") -> ChatRequest:
    message = ChatMessage(role="user", content=f"{word} {SECRET}")
    return ChatRequest(
        role=role, messages=(message,), schema=json.dumps(SCHEMA) if schema else "", max_tokens=64
    )


@pytest.fixture
def server():
    with ChatServer() as running:
        yield running


@pytest.fixture
def connect(server):
    backends = []

    def make(*, seconds: float = 10.0, url: str = "", seed: int = 0, **given):
        given = {"model": "tiny", "backoff_seconds": 0.01} | given
        settings = ServerSettings(base_url=url or server.url, **given)
        backends.append(OpenAICompatibleBackend(settings, seconds_per_round=seconds, seed=seed))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("openai-compatible")]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("cut-json", "invalid"),
        ("nan", "invalid"),
        ("infinite", "invalid"),
        ("out-of-range", "invalid"),
        ("unknown-field", "invalid"),
        ("missing-field", "invalid"),
        ("twice", "invalid"),
        ("prose", "invalid"),
        ("empty", "invalid"),
        ("megabyte", "invalid"),
        ("not-a-completion", "invalid"),
        ("cut-reply", "invalid"),
        ("length", "truncated"),
        ("filter", "refused"),
        ("refusal", "refused"),
        ("400", "refused"),
        ("429", "refused"),
        ("500", "unreachable"),
        ("reset", "unreachable"),
    ],
)
def test_a_fault_is_a_failure_of_its_kind_and_the_others_of_the_batch_stand(connect, word, kind):
    answers = connect().complete([question("ok"), question(word), question("ok")])
    assert isinstance(answers[1], Failure)
    assert answers[1].kind == kind
    assert answers[1].detail.startswith("expected")
    assert SECRET not in answers[1].detail
    assert "\n" not in answers[1].detail
    assert [a.text for a in (answers[0], answers[2])] == [GOOD, GOOD]


@pytest.mark.parametrize("word", ["silent", "stall"])
def test_a_half_open_server_is_a_timeout_at_the_deadline_and_the_others_stand(connect, word):
    backend = connect(seconds=1.0)
    backend.complete([question("ok")])
    start = time.monotonic()
    answers = backend.complete([question("ok"), question(word), question("ok")])
    assert time.monotonic() - start < 2.0
    assert [getattr(a, "kind", "answer") for a in answers] == ["answer", "timeout", "answer"]
    assert answers[1].latency_ns >= 0.9e9
    assert backend.complete([question("ok")])[0].text == GOOD  # and the connection is not stuck


def test_answers_keep_the_requests_order_whatever_order_they_come_in(connect):
    waits = [0.3, 0.2, 0.1, 0.0]
    answers = connect().complete([question(f"after {wait}", schema=False) for wait in waits])
    assert [answer.text.split()[1] for answer in answers] == [str(wait) for wait in waits]
    latencies = [answer.latency_ns for answer in answers]
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[0] >= 0.3e9


def test_no_more_requests_are_under_way_than_allowed(connect, server):
    answers = connect(concurrency=3).complete([question("after 0.02", schema=False)] * 12)
    assert all(isinstance(answer, Completion) for answer in answers)
    assert server.most_at_once == 3


@pytest.mark.parametrize("word", ["busy-once", "broken-once"])
def test_what_may_pass_is_asked_again(connect, server, word):
    [answer] = connect().complete([question(word, schema=False)])
    assert isinstance(answer, Completion)
    assert len(server.asked) == 2


@pytest.mark.parametrize(("word", "tries"), [("500", 3), ("429", 3), ("400", 1)])
def test_retries_are_as_many_as_set_and_only_for_what_may_pass(connect, server, word, tries):
    connect(retries=2).complete([question(word)])
    assert len(server.asked) == tries


def test_a_try_that_could_not_end_before_the_deadline_is_not_begun(connect):
    start = time.monotonic()
    [answer] = connect(seconds=2.0, backoff_seconds=60.0).complete([question("500")])
    assert answer.kind == "unreachable"
    assert time.monotonic() - start < 2.0


def test_the_pauses_double_and_their_jitter_is_fixed_by_seed_and_question(connect):
    first, again, other = connect(seed=1), connect(seed=1), connect(seed=2)
    ask = question("ok")
    pauses = [first._pause(ask, tries) for tries in range(3)]
    assert pauses == [again._pause(ask, tries) for tries in range(3)]
    assert pauses != [other._pause(ask, tries) for tries in range(3)]
    assert first._pause(ask, 0) != first._pause(question("ok 2"), 0)
    for tries, pause in enumerate(pauses):
        assert 0.5 <= pause / (0.01 * 2**tries) <= 1.5


def test_a_server_that_is_down_is_unreachable_for_every_request(connect):
    backend = connect(url=f"http://127.0.0.1:{closed_port()}/v1", seconds=5.0)
    assert [a.kind for a in backend.complete([question("ok")] * 3)] == ["unreachable"] * 3
    with pytest.raises(Retryable, match=r"expected .*, was ConnectError"):
        backend.identity("news")


def test_a_wrong_model_name_is_refused_and_the_served_names_are_told(connect, server):
    answers = connect(model="huge").complete([question("ok")] * 4)
    assert {answer.kind for answer in answers} == {"refused"}
    assert answers[0].detail == f"expected model 'huge', was a server of '{server.names[0]}'"
    assert server.listings == 1


def test_what_is_sent_is_greedy_bound_to_the_schema_and_addressed_to_the_role(connect, server):
    server.names = ("tiny", "tiny-news")
    backend = connect(adapters={"news": "tiny-news"})
    backend.complete([question("ok"), question("ok", schema=False, role="strategist")])
    bodies = {body["model"]: body for body in server.asked}
    assert bodies["tiny-news"]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "news_answer", "schema": SCHEMA, "strict": True},
    }
    assert "response_format" not in bodies["tiny"]
    for body in bodies.values():
        assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.0, 0, 64)
        assert "stream" not in body


def test_tokens_are_counted_for_answers_and_for_failures_that_were_paid(connect):
    good, bad = connect().complete([question("ok"), question("nan")])
    assert (good.prompt_tokens, good.completion_tokens, good.tokens) == (11, 5, 16)
    assert bad.tokens == 16


def test_it_answers_on_a_worker_thread_while_the_main_thread_runs_a_loop(connect):
    backend = connect()

    async def main():
        both = [asyncio.to_thread(backend.complete, [question("ok")] * 3) for _ in range(2)]
        return await asyncio.gather(*both)

    assert [[a.text for a in answers] for answers in asyncio.run(main())] == [[GOOD] * 3] * 2


def test_nothing_is_asked_for_an_empty_batch(connect, server):
    assert connect().complete([]) == []
    assert server.asked == []


def test_a_closed_backend_starts_again_when_it_is_asked(connect):
    backend = connect()
    backend.complete([question("ok")])
    backend.close()
    backend.close()
    assert backend.complete([question("ok")])[0].text == GOOD


def test_a_process_that_closes_nothing_ends_at_once(server):
    code = (
        "from agents.llm.server.openai_compatible import OpenAICompatibleBackend as Backend\n"
        "from config.settings import ServerSettings as Server\n"
        f"server = Server(base_url={server.url!r}, model='tiny')\n"
        "backend = Backend(server, seconds_per_round=5.0, seed=0)\n"
        "backend.identity('news')\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


def test_a_violation_names_the_path_and_what_was_expected():
    schema = obj(items={"type": "array", "items": {"type": "integer", "maximum": 3}})
    assert violation(schema, '{"items":[1,4]}') == (
        "expected maximum 3 at $.items[1], was another value"
    )


def test_the_client_is_not_imported_before_it_is_needed():
    code = "import sys, agents.llm.server.openai_compatible; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# --- who answers ---------------------------------------------------------------------------------


def test_an_identity_holds_the_served_hashes_and_is_asked_for_once(connect, server):
    server.names = ("tiny@" + "ab" * 32, "tiny-news@" + "cd" * 6)
    backend = connect(adapters={"news": "tiny-news"}, weights="ab" * 32)
    news, strategist = backend.identity("news"), backend.identity("strategist")
    assert (news.model, news.weights, news.adapter) == ("tiny-news", "ab" * 32, "cd" * 6)
    assert (strategist.model, strategist.adapter) == ("tiny", "")
    assert (news.engine, news.version, news.dtype) == ("vllm", "0.32.0", "server")
    assert server.listings == 1
    backend.complete([question("ok")])
    assert server.asked[-1]["model"] == "tiny-news@" + "cd" * 6  # other weights would be a 404


@pytest.mark.parametrize("names", [("tiny@" + "12" * 32,), ("tiny",)])
def test_other_weights_than_expected_are_a_config_error(connect, server, names):
    server.names = names
    with pytest.raises(ConfigError, match=r"^expected weights abababababab of 'tiny', was \w+$"):
        connect(weights="ab" * 32).identity("news")


def test_a_model_that_is_not_served_is_a_config_error(connect):
    with pytest.raises(ConfigError, match=r"^expected model 'huge', was a server of 'tiny@"):
        connect(model="huge").identity("news")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x/v1", "http://x:port/v1", ""])
def test_an_address_that_is_none_is_a_config_error(url):
    with pytest.raises(ConfigError, match="expected a server's http URL"):
        OpenAICompatibleBackend(ServerSettings(base_url=url), seconds_per_round=1.0, seed=0)


# --- streams -------------------------------------------------------------------------------------


def stream_of(text: str) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(role="explainer", messages=(message,), max_tokens=64)


def test_a_stream_comes_in_pieces(connect):
    assert list(connect().stream(stream_of("stream one two three"))) == ["one ", "two ", "three "]


@pytest.mark.parametrize(
    ("word", "was"),
    [
        ("stream-breaks", "broken off"),
        ("stream-stalls", "within 1 s"),
        ("500", "HTTP 500"),
        ("reset", "was"),
    ],
)
def test_a_stream_that_fails_gives_what_came_and_raises(connect, word, was):
    pieces = []
    with pytest.raises(Retryable, match=was):  # noqa: PT012
        for piece in connect(seconds=1.0).stream(stream_of(f"{word} one two")):
            pieces.append(piece)  # noqa: PERF402
    assert pieces in ([], ["one ", "two "])


def test_a_stream_that_is_left_early_is_ended(connect):
    backend = connect()
    pieces = backend.stream(stream_of("stream-stalls one two"))
    assert next(pieces) == "one "
    pieces.close()
    assert backend.complete([question("ok")])[0].text == GOOD


# --- schemas -------------------------------------------------------------------------------------

WORDS = {"type": "string", "pattern": r"^[ !#-\[\]-~]{0,5}$"}


def obj(**properties: object) -> dict:
    return {"type": "object", "properties": properties, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (WORDS, ['""', '"abc"', '"~!#$%"'], ['"abcdef"', '"a\\n"', '"\\u00e9"', '"\\""', "3"]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, ["1", "3"], ["0", "4", "1.0", "true"]),
        ({"type": "number", "enum": [0, 0.5]}, ["0", "0.50", "0.0"], ["0.4", '"0"', "false"]),
        ({"enum": ["a", "b"]}, ['"a"'], ['"c"', "null", '["a"]']),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["1", "null"], ["1.5", '"x"']),
        ({"type": "boolean"}, ["true"], ["1", "null"]),
        (
            {"type": "string", "minLength": 1, "maxLength": 2},
            ['"a"'],
            ['""', '"abc"', '"\\ud800"'],
        ),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2},
            ["[null]", "[null, null]"],
            ["[]", "[null,null,null]", "[1]", "null"],
        ),
        (obj(a={"type": "null"}), ["{}", '{"a":null}'], ['{"b":1}', '{"a":1}', "[]"]),
    ],
)
def test_a_schema_takes_what_satisfies_it_and_nothing_else(schema, right, wrong):
    assert [violation(schema, text) for text in right] == [None] * len(right)
    for text in wrong:
        assert violation(schema, text).startswith("expected"), text


@pytest.mark.parametrize("text", ["", "  ", "{", "NaN", "-Infinity", "1 2", "[" * 100_000, "'a'"])
def test_what_is_no_json_is_a_violation_of_any_schema(text):
    assert violation({"type": "number"}, text).startswith("expected")


def test_a_violation_repeats_nothing_of_the_answer():
    schema = obj(why={"type": "string", "maxLength": 3})
    for text in (f'{{"why":"{SECRET}"}}', f'{{"{SECRET}":1}}', SECRET):
        assert "prompt" not in violation(schema, text)


@pytest.mark.parametrize(
    ("schema", "longest"),
    [
        (WORDS, '"abcde"'),
        ({"enum": ["a", "bcd"]}, '"bcd"'),
        ({"type": "integer", "minimum": -10, "maximum": 7}, "-10"),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, "[false, false]"),
        (obj(a=WORDS, b={"type": "null"}), '{"a": "abcde", "b": null}'),
        ({"anyOf": [{"type": "null"}, {"enum": [1.25]}]}, "1.25"),
    ],
)
def test_the_longest_answer_is_exact_where_nothing_needs_an_escape(schema, longest):
    assert violation(schema, longest) is None
    assert longest_answer(schema) == len(longest)


def test_the_longest_answer_has_room_for_escapes():
    assert longest_answer({"type": "string", "maxLength": 3}) == 2 + 3 * len(r"\ud83d\ude00")
    assert longest_answer({"type": "string", "pattern": r"^[\"a]{0,3}$"}) == 2 + 3 * len(r"\"")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "integer", "minimum": 0},
        {"type": "array", "items": {"type": "null"}},
        {"type": "object", "properties": {}},
        {"type": "string", "pattern": "^a*$"},
        {"$ref": "#/$defs/X"},
        obj(a={"type": "string"}),
        {},
    ],
)
def test_an_unbounded_or_unknown_schema_is_a_config_error(schema):
    with pytest.raises(ConfigError, match="expected"):
        longest_answer(schema)
