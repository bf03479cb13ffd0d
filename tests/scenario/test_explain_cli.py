"""Explain, commentary and chat on a real run, through the real command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.messages import Case, Decision
from learning.experience import reading
from learning.experience.library import Library, open_library
from ops.composition.answers import read_record

LIBRARY = ("--library", "kept/library.sqlite")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def library(finished: Path):
    with open_library(finished / "kept" / "library.sqlite", create=False) as library:
        yield library


@pytest.fixture(scope="module")
def traded(library: Library) -> Any:
    """Return the record of a decision whose orders were filled and whose outcomes closed."""
    run_id = reading.find_run(library).run_id
    for key in reading.decision_keys(library, run_id):
        record = read_record(library, run_id, key.decision_id)
        if record.fills and record.outcomes and record.decision.opinions:
            return record
    raise AssertionError("expected a decision that traded")


@pytest.fixture
def say(finished: Path, command):
    """Return a function that runs a command to its good end and returns its answers."""

    def run(*words: object) -> list[dict[str, Any]]:
        ended = command(*words, *LIBRARY, "--json", cwd=finished)
        assert ended.code == 0, ended.err
        said = json.loads(ended.out)
        return said if isinstance(said, list) else [said]

    return run


def assert_cites_exist(answer: dict[str, Any], library: Library) -> None:
    """Assert that every id that is cited is a record, and every id in the text is cited."""
    run = reading.find_run(library)
    tables = {"decision": "decisions", "opinion": "opinions", "order": "orders", "run": "runs"}
    assert answer["cites"]
    with library.reading() as connection:
        for cite in answer["cites"]:
            column = f"{cite['kind']}_id"
            query = f"SELECT count(*) FROM {tables[cite['kind']]} WHERE {column} = '{cite['id']}'"
            assert connection.exec_driver_sql(query).scalar_one() > 0, cite
            assert cite["kind"] != "run" or cite["id"] == run.run_id
    shown = re.findall(
        r"(?:decision|opinion|order|run) ([0-9a-f]{10}|O-[\w-]+)[,\]]", answer["answer"]
    )
    assert shown
    for start in shown:
        assert any(cite["id"].startswith(start) for cite in answer["cites"]), start


def feature(case: Case, symbol: str, name: str) -> float:
    state = next(s for s in case.instruments if s.symbol == symbol)
    value = state.features[INSTRUMENT_FEATURES.index(name)]
    assert value is not None
    return value


# --- explain -------------------------------------------------------------------------------------


def test_explain_tells_the_whole_way_of_a_decision_by_the_start_of_its_id(say, library, traded):
    (answer,) = say("explain", traded.decision.decision_id[:6])
    text = answer["answer"]
    assert (answer["kind"], answer["known"], answer["by"]) == ("explanation", True, "rules")
    assert_cites_exist(answer, library)
    kinds = {cite["kind"] for cite in answer["cites"]}
    assert kinds == {"run", "decision", "opinion", "order"}
    for o in traded.decision.opinions:
        assert f"The {o.junior} junior ({o.model}) scored {o.symbol} {o.score:+.2f}" in text
    for p in traded.decision.proposals:
        assert f"{p.action} {p.symbol} with conviction {p.conviction:+.3f}" in text
    for line in (line for v in traded.verdicts for line in v.lines if line.limit):
        assert f"({line.limit})" in text
    for order in traded.orders:
        assert f"{abs(order.quantity):g} {order.symbol} was sent" in text
    for o in traded.outcomes:
        assert f"{o.symbol} had returned {o.instrument_return:+.2%}" in text
    own = next(r for r in traded.rewards if r.learner == "decision")
    assert f"The decision's reward was {own.value:.4f}" in text


def test_explain_of_one_instrument_is_silent_on_the_others(say, traded):
    symbol = traded.orders[0].symbol
    (answer,) = say("explain", traded.decision.decision_id, "--symbol", symbol)
    others = set(traded.symbols) - {symbol}
    assert f"asked for {traded.decision.allocation.weights[symbol]:.2%}" in answer["answer"]
    assert not any(f"junior had no opinion on {other}" in answer["answer"] for other in others)
    assert not any(f"about {other}" in answer["answer"] for other in others)


def test_wrong_words_end_in_one_line(command, finished, traded):
    decision = traded.decision.decision_id
    for words, said in (
        (("explain", "ffffffffffff"), "expected a decision in the library, was 'ffffffffffff'"),
        (("explain", "%%%%%%"), "expected a decision in the library, was '%%%%%%'"),
        (("explain", decision[:5]), "at least 6 characters of a decision's id"),
        (("explain", decision, "--symbol", "TSLA"), "(AAPL, IBM, MSFT), was 'TSLA'"),
        (("explain", decision, "--run", "ffffffff"), "expected a run in the library"),
        (("commentary", "--date", "2020-1-2"), "expected --date as YYYY-MM-DD, was '2020-1-2'"),
        (("chat", "--ask", "hello", "--run", "abc"), "at least 6 characters of a run's id"),
        (("chat", "--ask", "hello", "--minds", "magic"), "minds.roles"),
    ):
        ended = command(*words, *LIBRARY, cwd=finished)
        assert (ended.code, ended.out) == (2, ""), words
        assert said in ended.err
        assert ended.err.count("\n") == 1


def test_a_missing_library_is_not_made(command, finished):
    ended = command("chat", "--ask", "hello", "--library", "kept/none.sqlite", cwd=finished)
    assert (ended.code, ended.out) == (2, "")
    assert not (finished / "kept" / "none.sqlite").exists()


# --- commentary ----------------------------------------------------------------------------------


def test_commentary_reads_the_sessions_market_and_decision(say, library, traded):
    (answer,) = say("commentary", "--date", traded.day)
    text = answer["answer"]
    assert answer["known"]
    assert_cites_exist(answer, library)
    assert {"kind": "decision", "id": traded.decision.decision_id} in answer["cites"]
    assert f"the market was {traded.case.macro.regime}" in text
    for name, words in (
        ("index_return_20", "index one-month log return {:+.2%}"),
        ("index_volatility", "index volatility a year {:.2%}"),
    ):
        value = traded.case.macro.features[MACRO_FEATURES.index(name)]
        assert words.format(value) in text
    for frame in ("a day", "a week", "a month"):
        assert f"over {frame} " in text
    assert "For being long" in text
    assert "Against being long" in text


def test_commentary_on_a_weekend_names_the_sessions_beside_it(say, traded, library):
    run_id = reading.find_run(library).run_id
    days = [day_of(k.ts_event) for k in reading.decision_keys(library, run_id)]
    before = max(d for d in days if d < "2020-03-14")
    after = min(d for d in days if d > "2020-03-14")
    (answer,) = say("commentary", "--date", "2020-03-14")
    assert not answer["known"]
    assert f"nearest are on {before} and {after}" in answer["answer"]


def day_of(ts: int) -> str:
    from agents.explain.facts import day_of as day

    return day(ts)


# --- chat ----------------------------------------------------------------------------------------


def test_a_chat_of_five_turns_says_what_the_library_says(say, library, traded):
    symbol, other = (
        traded.orders[0].symbol,
        sorted(set(traded.symbols) - {traded.orders[0].symbol})[0],
    )
    decision: Decision = traded.decision
    technical, signal, market, strategy, follow_up = say(
        "chat",
        *("--ask", f"What is the RSI of {symbol} on {traded.day}?"),
        *("--ask", f"Should I buy {symbol}?"),
        *("--ask", "How is the market?"),
        *("--ask", "How does the allocator work, and what are my limits?"),
        *("--ask", f"and {other}?"),
    )
    kinds = [a["kind"] for a in (technical, signal, market, strategy, follow_up)]
    assert kinds == ["technical", "signal", "market", "strategy", "signal"]
    for answer in (technical, signal, market, strategy, follow_up):
        assert answer["known"]
        assert_cites_exist(answer, library)
        assert {"kind": "decision", "id": decision.decision_id} in answer["cites"]
    rsi = 100.0 * feature(traded.case, symbol, "rsi_14")
    assert f"RSI (14) {rsi:.1f}" in technical["answer"]
    for o in traded.opinions(symbol):
        assert f"{o.score:+.2f} of ±2 at confidence {o.confidence:.2f}" in signal["answer"]
    assert f"asked for {decision.allocation.weights[symbol]:.2%}" in signal["answer"]
    breadth = traded.case.macro.features[MACRO_FEATURES.index("breadth")]
    assert f"share above the 60-day mean {breadth:.0%}" in market["answer"]
    assert decision.allocation.top_policy in strategy["answer"]
    most = max(0.10, 1.5 / len(traded.case.instruments))
    assert f"{100 * most:.4g}% of equity a position" in strategy["answer"]
    assert (
        f"asked for {decision.allocation.weights[other]:.2%} of equity in {other}"
        in (follow_up["answer"])
    )


def test_a_chat_says_what_the_library_does_not_hold(say):
    answers = say(
        "chat",
        *("--ask", "Should I buy TSLA?"),
        *("--ask", "RSI of AAPL on 2031-05-05"),
        *("--ask", "What will AAPL cost tomorrow?"),
        *("--ask", "who are you"),
    )
    assert [a["known"] for a in answers] == [False] * 4
    assert all(a["answer"].startswith("The library does not hold") for a in answers)
    assert all(a["cites"] for a in answers)


def test_the_runs_results_are_those_that_it_printed(say, finished, library):
    (answer,) = say("chat", "--ask", "How did it perform?")
    printed = json.loads((finished / "printed.json").read_text())
    yearly = printed["books"][0]["figures"]["sharpe"]
    assert f"({yearly:+.2f} a year)" in answer["answer"]
    run_id = reading.find_run(library).run_id
    counts = library.counts(run_id)
    assert f"{counts['decisions']} decisions, {counts['orders']} orders" in answer["answer"]
    fills = [
        f
        for key in reading.decision_keys(library, run_id)
        for f in reading.fills(library, run_id, key.decision_id)
    ]
    assert len(fills) == counts["fills"]
    assert f"cost {sum(f.commission for f in fills):.2f} in commission" in answer["answer"]


class Server(ThreadingHTTPServer):
    """A server of OpenAI's protocol, whose model answers as `reply` makes of a prompt's facts."""

    daemon_threads = True
    reply: Callable[[str], str]

    @property
    def environ(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        return {"QUARTERDECK_MINDS__VLLM__BASE_URL": url}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send({"data": [{"id": "smollm2-135m-instruct@0123456789ab"}], "version": "1"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        facts = asked["messages"][-1]["content"]
        said = {"role": "assistant", "content": self.server.reply(facts)}
        self.send({"choices": [{"index": 0, "finish_reason": "stop", "message": said}]})

    def send(self, page: dict[str, Any]) -> None:
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_models_words_are_taken_where_they_match_and_refused_where_not(
    command, finished, server, tmp_path
):
    def first_fact_or_lie(prompt: str) -> str:
        fact = re.search(r"^1\. (.*)$", prompt, flags=re.MULTILINE)[1]
        return fact if "RSI" in prompt.rpartition("Question")[2] else f"Worth 98765.4 now, {fact}"

    server.reply = first_fact_or_lie
    questions = ("--ask", "RSI of AAPL?", "--ask", "Should I buy AAPL?", "--ask", "buy TSLA?")
    words = ("chat", *questions, *LIBRARY, "--minds", "vllm", "--json")
    ended = command(*words, cwd=finished, env=server.environ | {"QUARTERDECK_HOME": str(tmp_path)})
    assert ended.code == 0, ended.err
    taken, refused, unknown = json.loads(ended.out)
    assert taken["by"] == "vllm/smollm2-135m-instruct@01234567"
    assert taken["answer"] in taken["record"]
    assert refused["by"] == unknown["by"] == "rules"
    assert refused["answer"] == refused["record"]
    said = "the model's words did not match the record: 98765.4 is not among the facts"
    assert (refused["note"], unknown["note"]) == (said, "")
    assert "the model's words: 1 number, 1 taken" in ended.err


def test_a_conversation_goes_on_without_its_server(command, finished, tmp_path):
    nowhere = {
        "QUARTERDECK_MINDS__VLLM__BASE_URL": "http://127.0.0.1:9/v1",
        "QUARTERDECK_MINDS__VLLM__RETRIES": "0",
        "QUARTERDECK_HOME": str(tmp_path),  # where no answer is kept
    }
    words = ("chat", "--ask", "RSI of AAPL?", *LIBRARY, "--minds", "vllm")
    ended = command(*words, cwd=finished, env=nowhere)
    assert ended.code == 0, ended.err
    assert "AAPL closed at" in ended.out
    assert "(the model did not answer: expected /models of 127.0.0.1:9, was" in ended.out
    assert "1 unreachable" in ended.err


@pytest.mark.parametrize("as_json", [False, True])
def test_questions_are_read_from_standard_input_to_its_end(finished, child_environ, as_json):
    words = ["chat", "--library", "kept/library.sqlite", *(["--json"] if as_json else [])]
    ended = subprocess.run(
        [sys.executable, "-m", "ops.cli", *words],
        input="trend of AAPL?\n\nwhy?\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=finished,
        env=child_environ | {"QUARTERDECK_HOME": os.fspath(finished / "home")},
    )
    assert ended.returncode == 0, ended.stderr
    if as_json:
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        assert [line["question"] for line in lines] == ["trend of AAPL?", "why?"]
        return
    first, second = ended.stdout.strip().split("\n\n")
    assert "AAPL closed at" in first
    assert "supervisor asked" in second
