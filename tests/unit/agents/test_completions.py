"""Completions that are kept: the same answers without the model, or a reason why not."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing

import pytest

from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure, ModelIdentity
from agents.llm.meter import MeteredBackend
from agents.llm.store.completion_store import CompletionStore
from agents.llm.store.replay_backend import ReplayBackend
from config.errors import ConfigError, ReplayMiss, Retryable
from ops.bench.replay_cache import measure_replay

OLD, NEW = "1a" * 32, "3c" * 32


class Engine:
    """A real, if simple, backend: it answers with what it was asked and counts its questions."""

    def __init__(self, weights=OLD, failing=(), down=False, **identity):
        self.asked = []
        self.failing = failing
        self.down = down
        self.known = {"model": "tiny", "engine": "e", "version": "1", "dtype": "float32"}
        self.known |= {"weights": weights, **identity}

    def identity(self, role):
        if self.down:
            raise Retryable("expected a server, was down")
        return ModelIdentity(**self.known)

    def complete(self, requests):
        self.asked += requests
        return [self._answer(request, i) for i, request in enumerate(requests)]

    def _answer(self, request, i):
        said = request.messages[-1].content
        if said in self.failing:
            return Failure(kind="timeout", detail="late", latency_ns=9, tokens=3)
        return Completion(
            text=f"{said} {len(self.asked)}",
            prompt_tokens=7,
            completion_tokens=2,
            latency_ns=i + 1,
        )

    def stream(self, request):
        self.asked.append(request)
        yield from ("one ", "two")

    def close(self):
        pass


def question(text="buy?", role="news", system="be brief", **terms):
    messages = (
        ChatMessage(role="system", content=system),
        ChatMessage(role="user", content=text),
    )
    return ChatRequest(role=role, messages=messages, **terms)


@pytest.fixture
def store(tmp_path):
    with closing(CompletionStore(tmp_path / "completions.sqlite")) as opened:
        yield opened


def record(store, *questions, engine=None):
    return ReplayBackend(engine or Engine(), store, "record", "test").complete(questions)


def replay(store, engine=None, mode="replay"):
    return ReplayBackend(engine or Engine(), store, mode, "test")


def test_a_replay_gives_the_recorded_answers_and_failures_and_asks_nothing(store):
    questions = [question("a"), question("b"), question("c", role="strategist")]
    engine = Engine(failing=["b"])
    answers = record(store, *questions, engine=engine)
    assert [type(a) for a in answers] == [Completion, Failure, Completion]
    silent = Engine()
    assert replay(store, silent).complete(questions) == answers
    assert silent.asked == []


def test_answers_outlive_the_process_that_recorded_them(tmp_path):
    with closing(CompletionStore(tmp_path / "c")) as store:
        answers = record(store, question())
    with closing(CompletionStore(tmp_path / "c")) as store:
        assert replay(store).complete([question()]) == answers


def kept(store):
    """Return how many completions a store's file holds."""
    with closing(sqlite3.connect(store.path)) as file:
        return file.execute("SELECT count(*) FROM completions").fetchone()[0]


def test_recording_asks_again_and_keeps_the_newest_answer(store):
    engine = Engine()
    first = record(store, question(), engine=engine)
    second = record(store, question(), engine=engine)
    assert first != second
    assert len(engine.asked) == 2
    assert replay(store).complete([question()]) == second
    assert kept(store) == 1


@pytest.mark.parametrize("mode", ["record", "replay-or-live"])
def test_no_run_asks_a_question_twice_so_that_its_replay_is_the_same(store, mode):
    engine = Engine(failing=["b"])
    backend = ReplayBackend(engine, store, mode, "test")
    batch = [question("a"), question("b")]
    first = backend.complete(batch)
    engine.failing = ()
    assert backend.complete(batch) == first
    assert len(engine.asked) == 2
    again = replay(store)
    assert [again.complete(batch), again.complete(batch)] == [first, first]
    assert again.digest == backend.digest


def test_replay_or_live_asks_for_misses_and_for_what_failed_and_keeps_both(store):
    record(store, question("a"), question("b"), engine=Engine(failing=["b"]))
    engine = Engine()
    answers = replay(store, engine, "replay-or-live").complete([question(t) for t in "abc"])
    assert [r.messages[-1].content for r in engine.asked] == ["b", "c"]
    assert all(isinstance(a, Completion) for a in answers)
    assert replay(store).complete([question(t) for t in "abc"]) == answers


def test_a_question_that_stands_twice_in_a_batch_is_asked_once(store):
    engine = Engine()
    a, b, again = record(store, question("a"), question("b"), question("a"), engine=engine)
    assert len(engine.asked) == 2
    assert a == again != b


def test_who_asks_and_for_which_decision_is_no_part_of_the_key(store):
    (answer,) = record(store, question(of="decision 1"))
    other = question(of="decision 2", role="technical")
    assert replay(store).complete([other]) == [answer]


@pytest.mark.parametrize(
    ("engine", "terms", "said"),
    [
        ({"dtype": "bfloat16"}, {}, "dtype float32 (now bfloat16)"),
        ({"version": "2"}, {}, "engine version 1 (now 2)"),
        ({"adapter": NEW}, {}, "adapter none (now 3c3c3c3c)"),
        ({"weights": NEW}, {}, "weights 1a1a1a1a (now 3c3c3c3c)"),
        ({}, {"seed": 5}, "seed 0 (now 5)"),
        ({}, {"temperature": 0.5}, "temperature 0.0 (now 0.5)"),
        ({}, {"max_tokens": 9}, "max_tokens 256 (now 9)"),
        ({}, {"schema": '{"type":"object"}'}, "schema none (now "),
        ({}, {"text": "sell?"}, "without this prompt"),
        ({}, {"system": "be long"}, "without this prompt"),
    ],
)
def test_a_miss_names_the_role_and_what_differs(store, engine, terms, said):
    record(store, question())
    engine = Engine(**engine)
    backend = ReplayBackend(engine, store, "replay", "another kind")
    with pytest.raises(ReplayMiss) as caught:
        backend.complete([question(**terms)])
    message = str(caught.value)
    assert message.startswith("expected a kept completion of news, was a cache ")
    assert said in message
    assert "\n" not in message
    assert engine.asked == []


def test_a_miss_compares_with_the_nearest_question_that_is_kept(store):
    record(store, question(seed=1, max_tokens=5))
    record(store, question(seed=1))
    with pytest.raises(ReplayMiss, match=r"with this prompt of seed 1 \(now 2\): "):
        replay(store).complete([question(seed=2)])


def test_a_replay_refuses_a_cache_of_other_weights_before_it_is_asked(store):
    record(store, question())
    with pytest.raises(ReplayMiss, match=r"weights 1a1a1a1a \(now 3c3c3c3c\)"):
        replay(store, Engine(weights=NEW)).identity("news")
    record(store, question(), engine=Engine(weights=NEW))
    assert replay(store, Engine(weights=OLD)).identity("news").weights == OLD
    assert replay(store, Engine(weights=NEW)).identity("news").weights == NEW


def test_answers_of_other_weights_lie_side_by_side(store):
    engine = Engine(weights=NEW)
    engine.asked.append(None)
    old, new = record(store, question()), record(store, question(), engine=engine)
    assert old != new
    assert replay(store).complete([question()]) == old
    assert replay(store, Engine(weights=NEW)).complete([question()]) == new


def test_with_the_server_down_a_replay_takes_what_answered_last(store):
    down = Engine(down=True)
    with pytest.raises(ReplayMiss, match=r"what answered for news.*was down"):
        replay(store, down).identity("news")
    record(store, question())
    newest = record(store, question(), engine=Engine(weights=NEW))
    backend = replay(store, down)
    assert backend.identity("news").weights == NEW
    assert backend.complete([question()]) == newest
    record(store, question())  # the first model again: now it is the last
    assert replay(store, down).identity("news").weights == OLD
    with pytest.raises(ReplayMiss, match="what answered for explainer"):
        replay(store, down).identity("explainer")
    other = ReplayBackend(down, store, "replay", "test", configured="another model")
    with pytest.raises(ReplayMiss, match="what answered for news"):
        other.identity("news")


def test_the_digest_tells_answers_and_their_order_and_is_the_same_when_replayed(store):
    a, b = question("a"), question("b")
    recorder = ReplayBackend(Engine(), store, "record", "test")
    recorder.complete([a, b])
    recorder.complete([a])

    def digest(*batches):
        backend = replay(store)
        for batch in batches:
            backend.complete(batch)
        return backend.digest

    again = ReplayBackend(Engine(), store, "replay", "test")
    again.complete([a, b])
    assert again.digest == digest([a], [b]) != digest([b, a])
    again.complete([a])
    assert again.digest == digest([a, b, a])
    assert len(bytes.fromhex(again.digest)) == 32
    assert digest() != again.digest


SCHEMA = '{"type":"object"}'


def minded(text="buy?", **terms):
    """Ask as minds do: under a schema."""
    return question(text, **{"schema": SCHEMA, **terms})


def fixed(store, *engines, seed=0, failures=True):
    identities = {engine.identity("news") for engine in engines or (Engine(),)}
    return store.fix(identities, seed, failures=failures)


def test_what_is_kept_after_a_store_was_fixed_is_not_found(store):
    (known,) = record(store, minded("a"))
    fixed(store)
    with closing(CompletionStore(store.path)) as other:
        record(other, minded("b"))
    assert replay(store).complete([minded("a")]) == [known]
    with pytest.raises(ReplayMiss, match="in which another run has kept it since this one began"):
        replay(store).complete([minded("b")])
    engine = Engine()
    backend = replay(store, engine, "replay-or-live")
    backend.complete([minded("a"), minded("b")])
    assert [r.messages[-1].content for r in engine.asked] == ["b"]
    assert (backend.hits, backend.misses) == (1, 1)


def test_an_answer_that_another_run_has_replaced_is_a_miss_and_never_its_successor(store):
    record(store, minded("a"), minded("b"))
    fixed(store)
    with closing(CompletionStore(store.path)) as other:
        record(other, minded("a"))
    with pytest.raises(ReplayMiss, match="another run has kept it since"):
        replay(store).complete([minded("b"), minded("a")])


@pytest.mark.parametrize("mode", ["record", "replay-or-live"])
def test_a_run_holds_the_answers_that_it_asked_for_whatever_others_keep(store, mode):
    backend = replay(store, Engine(), mode)
    first = backend.complete([minded("a")])
    with closing(CompletionStore(store.path)) as other:
        engine = Engine()
        engine.asked.append(None)
        assert record(other, minded("a"), engine=engine) != first
    assert backend.complete([minded("a")]) == first


def test_two_stores_that_may_answer_otherwise_have_two_digests(tmp_path):
    def digest(name, *batches, **terms):
        with closing(CompletionStore(tmp_path / name)) as store:
            for engine, batch in batches:
                record(store, *batch, engine=engine)
            return fixed(store, **terms)

    a, b = minded("a"), minded("b")
    late = Engine()
    late.asked.append(None)  # its answer to a question has another number
    plain = digest("plain", (Engine(), [a, b]))
    assert len(bytes.fromhex(plain)) == 32
    assert digest("other answers", (late, [a, b])) != plain
    assert digest("more", (Engine(), [a, b, minded("c")])) != plain
    assert digest("less", (Engine(), [a])) != plain
    assert digest("empty") != plain
    assert digest("failed", (Engine(failing=["b"]), [a, b])) != plain


def test_the_digest_is_of_what_may_be_replayed_in_whatever_order_it_was_kept(store, tmp_path):
    engine = Engine(failing=["late"])
    answers = engine.complete([minded("a"), minded("b")])
    record(store, minded("a"), minded("b"))
    digest = fixed(store, failures=True)
    for others in (
        [question("a chat")],  # with the explainer: no schema
        [minded("a", seed=5)],
    ):
        record(store, *others)
        assert fixed(store) == digest
    record(store, minded("a"), engine=Engine(weights=NEW))
    assert fixed(store) == digest != fixed(store, Engine(), Engine(weights=NEW))
    assert fixed(store, seed=5) != digest
    record(store, minded("late"), engine=engine)
    assert fixed(store, failures=False) == digest != fixed(store, failures=True)

    class Canned(Engine):
        def complete(self, requests):
            return [
                dict(zip("ab", answers, strict=True))[r.messages[-1].content] for r in requests
            ]

    with closing(CompletionStore(tmp_path / "backwards")) as backwards:
        record(backwards, minded("b"), engine=Canned())
        record(backwards, minded("a"), engine=Canned())
        assert fixed(backwards) == digest


def test_live_asks_everything_keeps_nothing_and_tells_what_was_used():
    engine = Engine()
    backend = ReplayBackend(engine, None, "live", "test")
    first, second = backend.complete([minded("a")]), backend.complete([minded("a")])
    assert first != second
    assert (backend.hits, backend.misses, len(engine.asked)) == (0, 2, 2)
    assert list(backend.stream(question())) == ["one ", "two"]
    other = ReplayBackend(Engine(), None, "live", "test")
    other.complete([minded("a")])
    assert other.digest != backend.digest
    assert backend.identity("news") == engine.identity("news")
    with pytest.raises(ValueError, match="expected a store to replay from, was none"):
        ReplayBackend(engine, None, "replay", "test")


def test_hits_and_misses_are_counted(store):
    backend = replay(store, mode="replay-or-live")
    backend.complete([question("a"), question("b")])
    backend.complete([question("a"), question("c")])
    assert (backend.hits, backend.misses) == (1, 3)


def test_a_stream_is_kept_at_its_end_and_replayed_whole(store):
    recorder = ReplayBackend(Engine(), store, "record", "test")
    stream = recorder.stream(question())
    assert next(stream) == "one "
    stream.close()
    assert kept(store) == 0  # half an answer is none
    assert list(recorder.stream(question())) == ["one ", "two"]
    backend = replay(store)
    assert list(backend.stream(question())) == ["one two"]
    assert backend.digest == recorder.digest
    with pytest.raises(ReplayMiss):
        list(backend.stream(question("another")))


def test_a_recorded_failure_is_no_stream(store):
    record(store, question(), engine=Engine(failing=["buy?"]))
    with pytest.raises(Retryable, match="timeout: late"):
        list(replay(store).stream(question()))


def test_two_writers_share_a_file_and_other_threads_may_use_it(tmp_path):
    with (
        closing(CompletionStore(tmp_path / "c")) as one,
        closing(CompletionStore(tmp_path / "c")) as two,
    ):
        threads = [
            threading.Thread(
                target=lambda store=store, name=name: [
                    record(store, question(f"{name}{i}")) for i in range(50)
                ]
            )
            for name, store in {"a": one, "b": two}.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept(one) == 100


def spoil_version(path):
    CompletionStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")


def spoil_other(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_version, "expected a cache of version 1, was 7"),
        (spoil_other, "expected a cache of completions, was another database"),
        (lambda path: path.write_bytes(b"no database at all" * 100), "not a database"),
        (lambda path: path.mkdir(), "unable to open"),
    ],
)
def test_a_file_that_is_no_cache_of_this_version_is_refused_and_left_alone(tmp_path, spoil, said):
    path = tmp_path / "c"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigError, match=said) as caught:
        CompletionStore(path)
    assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_batch_that_cannot_be_written_is_an_error_in_one_line_and_the_rest_stays(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("agents.llm.store.completion_store.BUSY_SECONDS", 0.05)
    with closing(CompletionStore(tmp_path / "c")) as store:
        record(store, question("a"))
        with closing(sqlite3.connect(tmp_path / "c", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ConfigError, match="database is locked"):
                record(store, question("b"))
        assert kept(store) == 1
        record(store, question("b"))
        assert kept(store) == 2


def test_no_prompt_is_kept(store):
    record(store, question("the secret plan"), engine=Engine(failing=["the secret plan"]))
    assert b"secret plan" not in store.path.read_bytes()
    assert b"secret plan" not in store.path.with_name(store.path.name + "-wal").read_bytes()


def test_the_meter_counts_by_role_and_a_replay_counts_the_same(store):
    def run(inner):
        meter = MeteredBackend(inner)
        meter.complete([question("a", of="d1"), question("b", of="d1")])
        meter.complete([question("c", role="strategist", of="d1")])
        meter.complete([question("a", of="d2"), question("c", role="strategist", of="d2")])
        return meter

    recorded = run(ReplayBackend(Engine(failing=["b"]), store, "record", "test"))
    store.keep([])  # an empty batch is no error
    counts = recorded.summary()
    assert counts["rounds"] == 3
    assert counts["max_rounds_of_decision"] == 2
    news = counts["roles"]["news"]
    assert (news["requests"], news["answers"], news["failures"]) == (3, 2, {"timeout": 1})
    assert (news["prompt_tokens"], news["completion_tokens"], news["failed_tokens"]) == (14, 4, 3)
    assert news["latency_p50_seconds"] == 1e-9
    assert news["latency_seconds"] == 11e-9
    assert counts["roles"]["strategist"]["rounds"] == 2
    assert recorded.wall_seconds > 0
    json.dumps(counts)

    assert run(replay(store)).summary() == counts


def test_a_made_up_cache_is_replayed_whole(tmp_path):
    figures = measure_replay(tmp_path / "c", decisions=50)
    assert figures["completions"] == 300
    assert figures["replayed_per_processor_s"] > 1_000  # 5,000 and more on a machine at rest
