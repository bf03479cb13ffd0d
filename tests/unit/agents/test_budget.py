"""Budgets and the circuit breaker, around a backend that answers from a script."""

import pytest

from agents.llm.budget import DECISIONS_KEPT, BudgetedBackend
from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure, ModelIdentity
from agents.llm.server.circuit import CircuitBreaker
from config.settings import BudgetSettings, ServerSettings

GOOD = Completion(text="{}", prompt_tokens=30, completion_tokens=10, latency_ns=2_000_000_000)


class Scripted:
    """A backend that answers a request with what its text says, and keeps what it was asked."""

    def __init__(self):
        self.rounds: list[list[str]] = []
        self.closed = False

    def identity(self, role):
        return ModelIdentity(model="m", weights="w", engine="e", version="1", dtype="d")

    def complete(self, requests):
        self.rounds.append([request.messages[0].content for request in requests])
        return [self.answer(text) for text in self.rounds[-1]]

    def answer(self, text):
        kind, _, seconds = text.partition(" ")
        if kind == "ok":
            return GOOD
        latency_ns = int(float(seconds or 0) * 1e9)
        return Failure(kind=kind, detail="expected an answer, was none", latency_ns=latency_ns)

    def stream(self, request):
        yield "piece"

    def close(self):
        self.closed = True


def ask(text: str = "ok", of: str = "d1", max_tokens: int = 50) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(role="news", messages=(message,), of=of, max_tokens=max_tokens)


def kinds(answers) -> list[str]:
    return ["ok" if isinstance(a, Completion) else a.kind for a in answers]


def budgeted(**limits) -> tuple[BudgetedBackend, Scripted]:
    inner = Scripted()
    return BudgetedBackend(inner, BudgetSettings(**limits)), inner


# --- budgets -------------------------------------------------------------------------------------


def test_without_limits_everything_is_asked_and_counted():
    backend, inner = budgeted()
    assert kinds(backend.complete([ask(), ask(of="d2"), ask("invalid")])) == [
        "ok",
        "ok",
        "invalid",
    ]
    assert (backend.spent.calls, backend.spent.tokens) == (3, 80)
    assert backend.spent.seconds == 2.0
    assert len(inner.rounds) == 1


def test_the_first_calls_of_a_decision_fit_and_the_rest_are_not_asked():
    backend, inner = budgeted(calls_per_decision=3)
    first = backend.complete([ask("ok"), ask("ok", of="d2"), ask("timeout")])
    second = backend.complete([ask(), ask(), ask(of="d2")])
    assert kinds(first) == ["ok", "ok", "timeout"]
    assert kinds(second) == ["ok", "budget", "ok"]
    assert second[1].detail == "expected at most 3 calls a decision, was 4"
    assert len(inner.rounds[1]) == 2


def test_calls_of_a_run_are_bounded_over_decisions():
    backend, inner = budgeted(calls_per_run=3)
    asked = [backend.complete([ask(of=f"d{i}")] * 2) for i in range(3)]
    assert [kinds(answers) for answers in asked] == [["ok"] * 2, ["ok", "budget"], ["budget"] * 2]
    assert len(inner.rounds) == 2  # a round in which nothing fits asks nobody
    assert backend.spent.calls == 3


@pytest.mark.parametrize("per", ["tokens_per_decision", "tokens_per_run"])
def test_answers_are_let_through_while_their_max_tokens_fit(per):
    backend, _ = budgeted(**{per: 150})
    assert kinds(backend.complete([ask(), ask(), ask(), ask()])) == ["ok"] * 3 + ["budget"]
    assert backend.spent.tokens == 120  # what was really spent is what counts from now on
    assert kinds(backend.complete([ask(max_tokens=31), ask(max_tokens=30)])) == ["budget", "ok"]


def test_seconds_of_a_run_are_each_rounds_slowest_recorded_answer():
    backend, _ = budgeted(seconds_per_run=5.0)
    backend.complete([ask("timeout 1"), ask("timeout 3"), ask("timeout 2")])
    assert backend.spent.seconds == 3.0
    assert kinds(backend.complete([ask()])) == ["ok"]
    [over] = backend.complete([ask()])
    assert (over.kind, over.detail) == ("budget", "expected less than 5 seconds a run, was 5.0")


def test_what_an_open_circuit_did_not_ask_costs_no_call():
    backend, _ = budgeted(calls_per_decision=1)
    assert kinds(backend.complete([ask("circuit")])) == ["circuit"]
    assert kinds(backend.complete([ask()])) == ["ok"]


def test_the_same_answers_are_refused_the_same_way_again():
    limits = {"calls_per_decision": 3, "tokens_per_run": 700, "seconds_per_run": 9.0}
    batches = [
        [ask(("ok", "timeout 1", "invalid")[(i + j) % 3], of=f"d{i // 2}") for j in range(4)]
        for i in range(8)
    ]
    (one, _), (two, _) = budgeted(**limits), budgeted(**limits)
    answers = [one.complete(b) for b in batches]
    assert answers == [two.complete(b) for b in batches]
    assert one.spent == two.spent
    assert any("budget" in kinds(batch) for batch in answers)


def test_spending_is_forgotten_only_of_old_decisions():
    backend, _ = budgeted(calls_per_decision=1)
    for i in range(DECISIONS_KEPT + 1):
        backend.complete([ask(of=f"d{i}")])
    assert kinds(backend.complete([ask(of=f"d{DECISIONS_KEPT}")])) == ["budget"]
    assert kinds(backend.complete([ask(of="d0")])) == ["ok"]


# --- the circuit ---------------------------------------------------------------------------------


def breaker(failures: int = 3, rounds: int = 2) -> tuple[CircuitBreaker, Scripted]:
    inner = Scripted()
    settings = ServerSettings(circuit_failures=failures, circuit_rounds=rounds)
    return CircuitBreaker(inner, settings), inner


@pytest.mark.parametrize("kind", ["timeout", "unreachable", "refused"])
def test_the_circuit_opens_after_failures_in_a_row_over_rounds(kind):
    backend, inner = breaker()
    assert kinds(backend.complete([ask(), ask(kind), ask(kind)])) == ["ok", kind, kind]
    assert backend.opened == 0
    backend.complete([ask(kind)])
    assert backend.opened == 1
    assert kinds(backend.complete([ask(), ask()])) == ["circuit", "circuit"]
    assert len(inner.rounds) == 2


@pytest.mark.parametrize("kind", ["truncated", "invalid", "ok"])
def test_an_answer_that_came_ends_the_row_however_bad_it_is(kind):
    backend, inner = breaker()
    for _ in range(5):
        backend.complete([ask("timeout"), ask("timeout"), ask(kind)])
    assert backend.opened == 0
    assert len(inner.rounds) == 5


def test_after_its_rounds_one_request_is_tried_and_an_answer_closes_the_circuit():
    backend, inner = breaker(failures=1, rounds=2)
    backend.complete([ask("timeout")])
    assert [kinds(backend.complete([ask()] * 2)) for _ in range(2)] == [["circuit"] * 2] * 2
    assert kinds(backend.complete([ask()] * 2)) == ["ok", "circuit"]
    assert kinds(backend.complete([ask()] * 2)) == ["ok", "ok"]
    assert [len(asked) for asked in inner.rounds] == [1, 1, 2]
    assert backend.opened == 1


def test_a_trial_that_fails_opens_the_circuit_again():
    backend, inner = breaker(failures=2, rounds=1)
    backend.complete([ask("timeout")] * 2)
    for _ in range(3):
        assert kinds(backend.complete([ask("refused")] * 2)) == ["circuit"] * 2
        assert kinds(backend.complete([ask("refused")] * 2)) == ["refused", "circuit"]
    assert backend.opened == 4
    assert len(inner.rounds) == 4


def test_after_a_trial_that_succeeds_a_whole_row_is_needed_again():
    backend, _ = breaker(failures=2, rounds=1)
    backend.complete([ask("timeout")] * 2)
    backend.complete([ask()])
    backend.complete([ask()])
    assert kinds(backend.complete([ask("timeout")])) == ["timeout"]
    assert backend.opened == 1


def test_an_empty_round_is_no_round():
    backend, inner = breaker(failures=1, rounds=1)
    backend.complete([ask("timeout")])
    assert backend.complete([]) == []
    assert kinds(backend.complete([ask()])) == ["circuit"]
    assert len(inner.rounds) == 1


@pytest.mark.parametrize("wrap", [breaker, budgeted])
def test_a_wrapper_passes_on_identity_stream_and_close(wrap):
    backend, inner = wrap()
    assert backend.identity("news").label == "e/m@w"
    assert list(backend.stream(ask())) == ["piece"]
    backend.close()
    assert inner.closed
